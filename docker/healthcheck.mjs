import { get } from 'node:http'

// Healthy is what `/ready` says; its answer is kept by the engine and names what fails.
get(`http://127.0.0.1:${process.env.METRICS_PORT}/ready`, (response) => {
  response.pipe(process.stdout)
  process.exitCode = response.statusCode === 200 ? 0 : 1
}).on('error', (error) => {
  process.stdout.write(`${error.message}\n`)
  process.exitCode = 1
})
