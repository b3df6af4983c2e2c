import { LineChart } from 'echarts/charts'
import { GridComponent, LegendComponent, TitleComponent } from 'echarts/components'
import { init, use } from 'echarts/core'
import { SVGRenderer } from 'echarts/renderers'
import type { Plot, Question } from './question.ts'
import type { Summary } from './statistics.ts'

use([LineChart, GridComponent, LegendComponent, TitleComponent, SVGRenderer])

const size = { width: 720, height: 360 }

/** Draws an answer as SVG. */
export function drawPlot(plot: Plot, question: Question, summary: Summary): string {
  const points = (figure: string) => {
    const lines = summary.figures.find(({ name }) => name === figure)?.lines ?? []
    return question.cells.map((cell) => [
      plot.x.of(cell),
      lines.find(({ label }) => label === cell.label)?.spread.median ?? Number.NaN,
    ])
  }
  const xs = question.cells.map(plot.x.of)
  const wide = Math.max(...xs) > 50 * Math.min(...xs)
  const chart = init(null, null, { renderer: 'svg', ssr: true, ...size })
  chart.setOption({
    animation: false,
    backgroundColor: '#ffffff',
    title: { text: plot.title, left: 'center', top: 8, textStyle: { fontSize: 14, fontWeight: 'normal' } },
    legend: { bottom: 4, show: plot.curves.length > 1 },
    grid: { left: 70, right: 30, top: 50, bottom: 70 },
    xAxis: { type: wide ? 'log' : 'value', name: plot.x.title, nameLocation: 'middle', nameGap: 28 },
    yAxis: { type: 'value', name: plot.unit, min: 0 },
    series: plot.curves.map(({ figure, title }) => ({
      type: 'line',
      name: title,
      data: points(figure),
      symbolSize: 7,
      label: { show: true, formatter: ({ value }: { value: [number, number] }) => value[1].toPrecision(3) },
    })),
  })
  const svg = chart.renderToSVGString()
  chart.dispose()
  return svg
}
