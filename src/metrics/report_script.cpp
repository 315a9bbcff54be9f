#include "report_assets.h"

namespace flux::metrics {

const std::string_view kReportScript = R"js(
(() => {
  'use strict';
  const charts = JSON.parse(document.getElementById('charts').textContent);
  const NS = 'http://www.w3.org/2000/svg';

  function element(parent, name, attributes, text) {
    const node = document.createElementNS(NS, name);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    if (text !== undefined) node.textContent = text;
    parent.appendChild(node);
    return node;
  }

  // Round numbers, about `count` of them, from `low` to `high`.
  function roundTicks(low, high, count) {
    const raw = (high - low) / count;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map(m => m * power).find(s => s >= raw * 0.999);
    const ticks = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; ++i) ticks.push(i * step);
    return ticks;
  }

  function logTicks(low, high) {
    const ticks = [];
    const decades = Math.log10(high / low);
    const factors = decades > 3 ? [1] : decades > 1.5 ? [1, 3] : [1, 2, 5];
    for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high); ++e) {
      for (const f of factors) {
        const value = f * 10 ** e;
        if (value >= low && value <= high) ticks.push(value);
      }
    }
    return ticks;
  }

  function number(value) {
    if (value === 0) return '0';
    const size = Math.abs(value);
    if (size >= 1e7 || size < 1e-3) return value.toExponential(2).replace(/\.?0+e/, 'e').replace('e+', 'e');
    if (size >= 1000) return Math.round(value).toLocaleString('en');
    return String(+value.toPrecision(4));
  }

  function tickLabel(value, largest) {
    if (value !== 0 && largest < 0.01) return value.toExponential(1).replace('.0e', 'e');
    if (Math.abs(value) >= 1e4) {
      const [unit, letter] = Math.abs(value) >= 1e6 ? [1e6, 'M'] : [1e3, 'k'];
      return +(value / unit).toPrecision(3) + letter;
    }
    return number(+value.toPrecision(6));
  }

  function extent(lists) {
    let low = Infinity, high = -Infinity;
    for (const list of lists) for (const v of list) { if (v < low) low = v; if (v > high) high = v; }
    return [low, high];
  }

  function verticalRange(chart, values) {
    let [low, high] = extent(values);
    if (chart.log) return [low / 1.1, high * 1.1];
    if (chart.zero) low = Math.min(low, 0);
    const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
    return [chart.zero && low === 0 ? 0 : low - room, high + room];
  }

  // Position of the value in the sorted list that is nearest to `wanted`.
  function nearest(list, wanted) {
    let low = 0, high = list.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (list[middle] < wanted) low = middle + 1; else high = middle;
    }
    return low > 0 && wanted - list[low - 1] < list[low] - wanted ? low - 1 : low;
  }

  function frame(plot, chart, xRange, yRange, xTitle) {
    plot.textContent = '';
    const width = plot.clientWidth, height = plot.clientHeight;
    const svg = element(plot, 'svg', { viewBox: `0 0 ${width} ${height}`, role: 'img' });
    const yTicks = chart.log ? logTicks(...yRange) : roundTicks(...yRange, height / 45);
    const labels = yTicks.map(tick => tickLabel(tick, Math.abs(yTicks[yTicks.length - 1])));
    const box = {
      left: 12 + 6.2 * Math.max(3, ...labels.map(l => l.length)), right: width - 14,
      top: 10, bottom: height - 34,
    };
    const x = v => box.left + (v - xRange[0]) / (xRange[1] - xRange[0] || 1) * (box.right - box.left);
    const ratio = chart.log
      ? v => Math.log(v / yRange[0]) / Math.log(yRange[1] / yRange[0])
      : v => (v - yRange[0]) / (yRange[1] - yRange[0]);
    const y = v => box.bottom - ratio(v) * (box.bottom - box.top);
    yTicks.forEach((tick, i) => {
      element(svg, 'line', { class: 'grid', x1: box.left, x2: box.right, y1: y(tick), y2: y(tick) });
      element(svg, 'text', { x: box.left - 6, y: y(tick) + 4, 'text-anchor': 'end' }, labels[i]);
    });
    for (const tick of roundTicks(...xRange, (box.right - box.left) / 75)) {
      element(svg, 'line', { class: 'axis', x1: x(tick), x2: x(tick), y1: box.bottom, y2: box.bottom + 4 });
      element(svg, 'text', { x: x(tick), y: box.bottom + 16, 'text-anchor': 'middle' }, tickLabel(tick));
    }
    element(svg, 'line', { class: 'axis', x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom });
    element(svg, 'text', { x: (box.left + box.right) / 2, y: height - 3, 'text-anchor': 'middle' }, xTitle);
    return { svg, box, x, y, width };
  }

  // Shows what `describe` says of the place under the pointer: {x, dots: [[x, y, color]], lines}.
  function addReadout(plot, view, describe) {
    const marks = element(view.svg, 'g', { visibility: 'hidden' });
    const rule = element(marks, 'line', { class: 'axis', y1: view.box.top, y2: view.box.bottom });
    const dots = element(marks, 'g', {});
    const readout = document.createElement('div');
    readout.className = 'readout';
    readout.hidden = true;
    plot.appendChild(readout);
    const hide = () => { marks.setAttribute('visibility', 'hidden'); readout.hidden = true; };
    const show = event => {
      const px = event.clientX - plot.getBoundingClientRect().left;
      const found = describe(Math.min(Math.max(px, view.box.left), view.box.right));
      if (!found) return hide();
      rule.setAttribute('x1', found.x);
      rule.setAttribute('x2', found.x);
      dots.textContent = '';
      for (const [cx, cy, color] of found.dots) {
        element(dots, 'circle', { cx, cy, r: 3.5, style: `fill:var(${color})` });
      }
      readout.textContent = '';
      for (const [color, text, value] of found.lines) {
        const line = readout.appendChild(document.createElement('div'));
        if (color) line.appendChild(document.createElement('i')).style.background = `var(${color})`;
        line.append(text + ' ');
        line.appendChild(document.createElement('b')).textContent = value;
      }
      marks.setAttribute('visibility', 'visible');
      readout.hidden = false;
      const right = found.x + 12 + readout.offsetWidth > view.width;
      readout.style.left = Math.max(0, right ? found.x - 12 - readout.offsetWidth : found.x + 12) + 'px';
    };
    plot.onpointermove = show;
    plot.onpointerdown = show;
    plot.onpointerleave = hide;
  }

  // Curves over the same thing share its range, so that they can be compared at a glance.
  const xRanges = {};
  for (const chart of charts) {
    if (!chart.series) continue;
    const [, last] = extent(chart.series.map(s => s.x));
    xRanges[chart.axis] = [0, Math.max(1, last, (xRanges[chart.axis] || [0, 0])[1])];
  }
  const place = value => Number.isInteger(value) ? value.toLocaleString('en') : number(value);

  function drawCurves(plot, chart) {
    const xRange = xRanges[chart.axis];
    const view = frame(plot, chart, xRange, verticalRange(chart, chart.series.map(s => s.y)), chart.axis);
    for (const s of chart.series) {
      const style = `stroke:var(${s.color});fill:none`;
      const path = s.x.map((v, i) => `${i ? 'L' : 'M'}${view.x(v).toFixed(1)} ${view.y(s.y[i]).toFixed(1)}`).join('');
      const faint = s.kind === 'faint';
      element(view.svg, 'path', {
        d: path, style, 'stroke-width': faint ? 1 : 1.75, opacity: faint ? 0.3 : 1, 'stroke-linejoin': 'round',
        'stroke-dasharray': s.dash || 'none',
      });
      if (s.kind === 'points' && s.x.length <= 40 || s.x.length === 1) {
        s.x.forEach((v, i) => element(view.svg, 'circle', {
          cx: view.x(v), cy: view.y(s.y[i]), r: 3, style: `fill:var(${s.color})`,
        }));
      }
    }
    const unit = chart.unit && ' ' + chart.unit;
    addReadout(plot, view, px => {
      const wanted = xRange[0] + (px - view.box.left) / (view.box.right - view.box.left) * (xRange[1] - xRange[0]);
      const hits = chart.series.map(s => ({ s, i: nearest(s.x, wanted) }));
      const at = hits.map(h => h.s.x[h.i]).reduce((a, b) => Math.abs(b - wanted) < Math.abs(a - wanted) ? b : a);
      const lines = [['', chart.axis, place(at)]];
      const dots = [];
      for (const { s, i } of hits) {
        const elsewhere = s.x[i] === at ? '' : ` (${chart.axis} ${place(s.x[i])})`;
        if (s.kind !== 'points' && Math.abs(view.x(s.x[i]) - view.x(at)) > 4) continue;
        lines.push([s.color, s.name + elsewhere, number(s.y[i]) + unit]);
        dots.push([view.x(s.x[i]), view.y(s.y[i]), s.color]);
      }
      return { x: view.x(at), dots, lines };
    });
  }

  function drawBars(plot, chart) {
    const count = chart.bars.length;
    const view = frame(plot, chart, [0, 1], [0, Math.max(...chart.bars) * 1.06], 'timestep t');
    chart.bars.forEach((value, i) => {
      const left = view.x(i / count), right = view.x((i + 1) / count);
      element(view.svg, 'rect', {
        x: left + 0.5, width: Math.max(0.5, right - left - 1), y: view.y(value),
        height: view.box.bottom - view.y(value), style: 'fill:var(--c0)', opacity: 0.85,
      });
    });
    addReadout(plot, view, px => {
      const share = (px - view.box.left) / (view.box.right - view.box.left);
      const i = Math.min(count - 1, Math.floor(share * count));
      const range = `t ${number(i / count)} to ${number((i + 1) / count)}`;
      return { x: view.x((i + 0.5) / count), dots: [], lines: [['--c0', range, number(chart.bars[i]) + ' %']] };
    });
  }

  function addLegend(plot, chart) {
    if (!chart.legend) return;
    const legend = document.createElement('div');
    legend.className = 'legend';
    for (const s of chart.series) {
      const entry = legend.appendChild(document.createElement('span'));
      const key = entry.appendChild(document.createElement('i'));
      key.style.background = `var(${s.color})`;
      if (s.kind === 'faint') key.style.opacity = 0.4;
      if (s.dash) Object.assign(key.style, { background: 'none', borderTop: `3px dashed var(${s.color})` });
      entry.append(s.name);
    }
    plot.before(legend);
  }

  const plots = [...document.querySelectorAll('[data-chart]')].map(plot => [plot, charts[plot.dataset.chart]]);
  const drawAll = () => { for (const [plot, chart] of plots) (chart.bars ? drawBars : drawCurves)(plot, chart); };
  for (const [plot, chart] of plots) addLegend(plot, chart);
  drawAll();
  let pending = 0;

  // Served by the run itself, the page follows it; when the run has ended, the last state stays.
  const follow = async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch(location.href, { method: 'HEAD', cache: 'no-store' });
      if (answer.ok && (answer.headers.get('Server') || '').startsWith('flux_train')) location.reload();
    } catch { /* the run has ended */ }
  };
  if (location.protocol !== 'file:') setInterval(follow, 10000);
  addEventListener('resize', () => { cancelAnimationFrame(pending); pending = requestAnimationFrame(drawAll); });
})();
)js";

}  // namespace flux::metrics
