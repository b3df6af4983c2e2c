import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'

const repository = fileURLToPath(new URL('../..', import.meta.url))

/** An operator at a shell in the repository, who follows `docker/README.md`. */
export class Operator {
  readonly #env: Readonly<Record<string, string>>
  readonly #steps: ReadonlyMap<string, string>

  private constructor(env: Readonly<Record<string, string>>, steps: ReadonlyMap<string, string>) {
    this.#env = env
    this.#steps = steps
  }

  /** `env` stands for what the first step exports; it must set all of it. */
  static async withSettings(env: Readonly<Record<string, string>>): Promise<Operator> {
    const page = await readFile(`${repository}/docker/README.md`, 'utf8')
    const steps = new Map<string, string>()
    for (const section of page.split(/^## /m).slice(1)) {
      const title = section.slice(0, section.indexOf('\n'))
      const commands = [...section.matchAll(/^```sh\n(.*?)^```$/gms)].map((match) => match[1])
      if (commands.length > 0) steps.set(title, commands.join('\n'))
    }
    const [settings = ''] = steps.values()
    const unset = [...settings.matchAll(/^export (\w+)=/gm)].filter(([, name = '']) => !(name in env))
    if (unset.length > 0) throw new Error(`The first step exports more than is given: ${unset.join(', ')}`)
    return new Operator(env, steps)
  }

  /** Runs all commands of one step of the page, given by its title; rejects with their output. */
  follow(title: string): Promise<string> {
    const commands = this.#steps.get(title)
    if (commands === undefined) throw new Error(`There is no step "${title}" in docker/README.md`)
    return this.run('bash', '-euo', 'pipefail', '-c', commands)
  }

  /** Runs one command and resolves to its standard output; rejects with all its output. */
  run(command: string, ...args: string[]): Promise<string> {
    const options = { cwd: repository, env: { ...process.env, ...this.#env }, maxBuffer: 64 * 1024 * 1024 }
    return new Promise((resolve, reject) => {
      execFile(command, args, options, (error, stdout, stderr) => {
        if (error) reject(new Error(`${command} failed (${error.code}):\n${stdout}${stderr}`))
        else resolve(stdout)
      })
    })
  }

  /** docker compose with both profiles. */
  compose(...args: string[]): Promise<string> {
    return this.run('docker', 'compose', '--profile', 'hub', '--profile', 'node', ...args)
  }

  /** The lines of `docker inspect` for these containers. */
  async inspect(...names: string[]): Promise<Container[]> {
    return JSON.parse(await this.run('docker', 'inspect', ...names))
  }
}

/** What `docker inspect` tells of a container, as far as the test asks. */
export interface Container {
  Config: { User: string; Labels: Record<string, string>; Env: string[] }
  HostConfig: {
    CapAdd: string[] | null
    CapDrop: string[] | null
    LogConfig: { Config: Record<string, string> }
    Memory: number
    PidsLimit: number
    Privileged: boolean
    ReadonlyRootfs: boolean
    RestartPolicy: { Name: string }
    SecurityOpt: string[] | null
  }
  State: { ExitCode: number; Health: { Status: string }; Status: string }
}
