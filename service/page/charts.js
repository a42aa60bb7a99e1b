// Charts by Chartist 1.5.0, which is loaded when the first one is made: points with names, and lines that move.

let library;
const load = () => library ??= import('./chartist.js').then((made) => {
  unstyled(made.Svg.prototype);
  return made;
});

/** Chartist's style attributes are against the page's Content-Security-Policy; page.css says what they would. */
function unstyled(prototype) {
  const { attr } = prototype;
  prototype.attr = function attributes(given, namespace) {
    if (given?.style === undefined) return attr.call(this, given, namespace);
    const { style, ...rest } = given;
    return attr.call(this, rest, namespace);
  };
}

/** Tells what the chart shows to those who don't see it. */
function label(box, sentence) {
  box.setAttribute('role', 'img');
  box.setAttribute('aria-label', sentence);
}

const short = (value) => Number(value.toPrecision(4));

/** Points {x, y, name, live}: their names beside them; what is live is drawn in the second colour. */
export class Points {
  constructor(box) { this.box = box; }

  async show(points, title) {
    const known = points.filter(({ x, y }) => x !== undefined && y !== undefined);
    label(this.box, `${title}: ${known.map(({ x, y, name, live }) => `${name}${live ? ' (live)' : ''} ${short(x)}, ${short(y)}`).join('; ')}`);
    const { LineChart, AutoScaleAxis } = await load();
    const data = { series: [known.filter(({ live }) => live), known.filter(({ live }) => !live)] };
    if (this.chart) return this.chart.update(data);
    const axis = { type: AutoScaleAxis, low: 0, labelInterpolationFnc: short };
    this.chart = new LineChart(this.box, data, { showLine: false, axisX: { ...axis, scaleMinSpace: 40 }, axisY: axis, chartPadding: { top: 20, right: 30 } });
    let taken = []; // places of names; one that would cover another moves, or is left to the table
    this.chart.on('created', () => { taken = []; });
    this.chart.on('draw', ({ type, series, index, group, x, y, chartRect }) => {
      if (type !== 'point') return;
      const { name } = series[index];
      const width = 6.5 * name.length;
      const start = Math.min(x + 7, chartRect.x2 + 30 - width);
      const line = [y - 6, y + 16, y - 19, y + 29].find((place) => !taken.some((other) =>
        start < other.start + other.width && other.start < start + width && Math.abs(place - other.line) < 13));
      if (line === undefined) return;
      taken.push({ start, width, line });
      group.elem('text', { x: start, y: line }).text(name);
    });
    return this.chart;
  }
}

const SHOWN_S = 120;

/** Lines over the last two minutes; `marks` are times in seconds at which there is a vertical line. */
export class Live {
  constructor(box, title, marks, onlyInteger = false) {
    [this.box, this.title, this.marks, this.onlyInteger] = [box, title, marks, onlyInteger];
    this.rows = [];
  }

  /** One more point of each line; null leaves a gap. */
  async add(time, ...values) {
    this.rows.push([time, ...values]);
    this.rows = this.rows.filter(([then]) => then >= time - SHOWN_S);
    label(this.box, `${this.title} now: ${values.map((value) => (value === null ? 'none' : short(value))).join(', ')}`);
    const data = { series: values.map((_, n) => this.rows.map(([then, ...all]) => ({ x: then - time, y: all[n] }))) };
    const { LineChart, AutoScaleAxis, FixedScaleAxis } = await load();
    this.now = time;
    if (this.chart) return this.chart.update(data);
    this.chart = new LineChart(this.box, data, {
      showPoint: false, lineSmooth: false, chartPadding: { top: 15, right: 30 },
      axisX: { type: FixedScaleAxis, low: -SHOWN_S, high: 0, divisor: 4, labelInterpolationFnc: (value) => `${value} s` },
      axisY: { type: AutoScaleAxis, low: 0, scaleMinSpace: 30, onlyInteger: this.onlyInteger, labelInterpolationFnc: short },
    });
    return this.chart.on('created', ({ svg, chartRect, axisX }) => {
      for (const mark of this.marks.filter((then) => then >= this.now - SHOWN_S)) {
        const x = chartRect.x1 + axisX.projectValue({ x: mark - this.now });
        svg.elem('line', { x1: x, x2: x, y1: chartRect.y1, y2: chartRect.y2 }, 'mark');
      }
    });
  }
}
