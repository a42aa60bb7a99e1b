// Charts as SVG, so that light, dark and screen readers cost nothing: points with names, and lines that move.
import { locale, t } from './texts.js';

const NAMESPACE = 'http://www.w3.org/2000/svg';
const [LEFT, RIGHT, TOP, BOTTOM] = [44, 28, 22, 26]; // between the box and the axes, in pixels
const SHOWN_S = 120;

/** A new SVG element in another one. */
function draw(parent, name, attributes, text) {
  const made = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

/** Tells what the chart shows to those who don't see it. */
function label(box, sentence) {
  box.setAttribute('role', 'img');
  box.setAttribute('aria-label', sentence);
}

const short = (value) => value.toLocaleString(locale, { maximumSignificantDigits: 4 });

/** Round numbers from `low` to beyond `high`, about `wanted` of them. */
function ticks(low, high, wanted, whole = false) {
  const rough = (high - low) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(whole ? 1 : 0, [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough));
  const count = Math.max(1, Math.ceil((high - low) / step - 1e-9));
  return Array.from({ length: count + 1 }, (_, n) => low + n * step);
}

/** An SVG that fills the box, with axes; and functions from values to places. */
function frame(box, x, y) {
  const svg = document.createElementNS(NAMESPACE, 'svg');
  box.replaceChildren(svg);
  const { clientWidth: width, clientHeight: height } = box;
  const [right, bottom] = [width - RIGHT, height - BOTTOM];
  const across = (value) => LEFT + ((value - x.at[0]) / (x.at.at(-1) - x.at[0])) * (right - LEFT);
  const up = (value) => bottom - ((value - y.at[0]) / (y.at.at(-1) - y.at[0])) * (bottom - TOP);
  for (const value of x.at) {
    draw(svg, 'line', { class: 'grid', x1: across(value), x2: across(value), y1: TOP, y2: bottom });
    draw(svg, 'text', { class: 'tick', x: across(value), y: height - 8, 'text-anchor': 'middle' }, x.name(value));
  }
  for (const value of y.at) {
    draw(svg, 'line', { class: 'grid', x1: LEFT, x2: right, y1: up(value), y2: up(value) });
    draw(svg, 'text', { class: 'tick', x: LEFT - 6, y: up(value) + 4, 'text-anchor': 'end' }, y.name(value));
  }
  return { svg, across, up, right, bottom };
}

/** Points {x, y, name, live}: their names beside them; what is live is drawn in the second colour. */
export class Points {
  constructor(box) {
    this.box = box;
    new ResizeObserver(() => this.points && this.draw()).observe(box);
  }

  show(points, title) {
    this.points = points.filter(({ x, y }) => x !== undefined && y !== undefined);
    label(this.box, `${title}: ${this.points.map(({ x, y, name, live }) => `${name}${live ? ` (${t('live')})` : ''} ${short(x)}, ${short(y)}`).join('; ')}`);
    this.draw();
  }

  draw() {
    if (!this.box.clientWidth) return; // a hidden box has no size to draw in
    const [xs, ys] = ['x', 'y'].map((side) => this.points.map((point) => point[side]));
    const most = Math.max(...ys, 0);
    const least = Math.min(...ys, most);
    const low = least > most / 2 ? Math.max(0, Math.floor(2 * least - most)) : 0; // differences, where all are much alike
    const axis = (begin, end) => ({ at: ticks(begin, end || 1, 5), name: short });
    const { svg, across, up, right } = frame(this.box, axis(0, Math.max(...xs, 0)), axis(low, most));
    const placed = this.points.map((point) => ({ ...point, x: across(point.x), y: up(point.y) }));
    for (const { x, y, live, name } of placed) {
      draw(draw(svg, 'circle', { class: live ? 'live' : 'other', cx: x, cy: y, r: 4.5 }), 'title', {}, name);
    }
    names(svg, placed, right + RIGHT - 2);
  }
}

/** Write names beside points: not over one another, nor over a point, nor out of the chart; the table has them all. */
function names(svg, points, edge) {
  const taken = points.map(({ x, y }) => ({ left: x - 6, right: x + 6, top: y - 6, bottom: y + 6 }));
  const isFree = (box) => box.left >= LEFT + 2 && box.right <= edge && box.top >= 2
    && !taken.some((other) => box.left < other.right && other.left < box.right && box.top < other.bottom && other.top < box.bottom);
  for (const { x, y, name } of [...points].sort((a, b) => b.live - a.live || b.y - a.y)) {
    const text = draw(svg, 'text', {}, name);
    const { width, height } = text.getBBox();
    const places = [[x + 8, y - height / 2], [x - 8 - width, y - height / 2], [x - width / 2, y - 7 - height], [x - width / 2, y + 7],
      [x + 6, y - 4 - height], [x + 6, y + 4], [x - 6 - width, y - 4 - height], [x - 6 - width, y + 4]];
    const box = places.map(([left, top]) => ({ left, top, right: left + width, bottom: top + height })).find(isFree);
    if (!box) {
      text.remove();
      continue;
    }
    taken.push(box);
    text.setAttribute('x', box.left);
    text.setAttribute('y', box.top + 0.8 * height);
  }
}

/** Lines over the last two minutes; `marks` are times in seconds at which there is a vertical line. */
export class Live {
  constructor(box, title, marks, whole = false) {
    [this.box, this.title, this.marks, this.whole] = [box, title, marks, whole];
    this.rows = [];
  }

  /** One more point of each line; null leaves a gap. */
  add(time, ...values) {
    this.rows.push([time, ...values]);
    this.rows = this.rows.filter(([then]) => then >= time - SHOWN_S);
    label(this.box, `${this.title}: ${values.map((value) => (value === null ? '–' : short(value))).join(', ')}`);
    if (!this.box.clientWidth) return;
    const most = Math.max(...this.rows.flatMap(([, ...all]) => all.map((value) => value ?? 0)));
    const y = { at: ticks(0, most || 1, 4, this.whole), name: short };
    const { svg, across, up, bottom } = frame(this.box, { at: [0, 1, 2, 3, 4].map((n) => (n / 4 - 1) * SHOWN_S), name: (value) => `${value} s` }, y);
    for (const mark of this.marks.filter((then) => then >= time - SHOWN_S)) {
      draw(svg, 'line', { class: 'mark', x1: across(mark - time), x2: across(mark - time), y1: TOP, y2: bottom });
    }
    for (const [n] of values.entries()) {
      let pen = 'M';
      const path = this.rows.map(([then, ...all]) => {
        if (all[n] === null) {
          pen = 'M';
          return '';
        }
        const step = `${pen}${across(then - time).toFixed(1)} ${up(all[n]).toFixed(1)}`;
        pen = 'L';
        return step;
      }).join('');
      draw(svg, 'path', { class: n ? 'line other' : 'line live', d: path });
    }
  }
}
