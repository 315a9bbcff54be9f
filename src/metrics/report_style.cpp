#include "report_assets.h"

namespace flux::metrics {

const std::string_view kReportStyle = R"css(
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --line: #dfe3e8; --grid: #eceef1;
  --text: #1b1f24; --quiet: #626c78; --bad: #b3261e;
  --c0: #1f6fb2; --c1: #d1541b;
  --t0: #3f3a8c; --t1: #2f5fb0; --t2: #1e86b0; --t3: #1a9c92;
  --t4: #46a558; --t5: #97a41f; --t6: #d08a1d; --t7: #c4472f;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171b; --card: #1c2026; --line: #333a43; --grid: #282e36;
    --text: #e4e7eb; --quiet: #96a0ac; --bad: #ff8a80;
    --c0: #5fa8e6; --c1: #f2905c;
    --t0: #8f88e8; --t1: #6f9ff0; --t2: #55b9e0; --t3: #4fcfc2;
    --t4: #7ed08c; --t5: #c9d356; --t6: #efb95c; --t7: #f0816a;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 1200px; padding: 28px 24px 48px;
  background: var(--page); color: var(--text);
  font: 14px/1.45 system-ui, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", sans-serif;
  font-variant-numeric: tabular-nums;
}
header { margin-bottom: 20px; }
h1 { font-size: 22px; line-height: 1.25; font-weight: 600; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 16px; font-weight: 600; margin: 32px 0 12px; }
.status {
  display: inline-block; margin-left: 8px; padding: 1px 9px; vertical-align: 3px;
  border: 1px solid var(--line); border-radius: 10px;
  color: var(--quiet); font-size: 12px; font-weight: 400;
}
.quiet { color: var(--quiet); }
header p { margin: 4px 0 0; overflow-wrap: anywhere; }
.cards { display: grid; gap: 10px; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); }
.card, figure.chart, .panel {
  background: var(--card); border: 1px solid var(--line); border-radius: 8px;
}
.card { padding: 10px 14px; min-width: 0; }
.card dt { color: var(--quiet); font-size: 12px; }
.card dd { margin: 0; font-size: 20px; font-weight: 600; line-height: 1.3; overflow-wrap: anywhere; }
.card dd.small { color: var(--quiet); font-size: 12px; font-weight: 400; }
dl { margin: 0; }
.facts {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(260px, 1fr)); gap: 2px 28px;
  padding: 12px 14px; margin-top: 10px;
}
.facts div { display: flex; justify-content: space-between; gap: 12px; min-width: 0; }
.facts dt { color: var(--quiet); flex: none; }
.facts dd { margin: 0; text-align: right; overflow-wrap: anywhere; min-width: 0; }
.charts { display: grid; gap: 12px; grid-template-columns: repeat(2, minmax(0, 1fr)); margin-top: 24px; }
figure { margin: 0; }
figure.chart { display: flex; flex-direction: column; padding: 12px 14px 8px; min-width: 0; }
figure.wide { grid-column: 1 / -1; }
figure.chart figcaption { font-weight: 600; }
figure.chart figcaption span { color: var(--quiet); font-weight: 400; font-size: 12px; margin-left: 6px; }
.plot { position: relative; flex: 1 0 215px; touch-action: pan-y; }
.wide .plot { flex-basis: 320px; }
.plot svg { position: absolute; inset: 0; width: 100%; height: 100%; overflow: visible; }
.plot text { fill: var(--quiet); font-size: 11px; }
.grid { stroke: var(--grid); }
.axis { stroke: var(--line); }
.legend { display: flex; flex-wrap: wrap; gap: 2px 14px; min-height: 18px; color: var(--quiet); font-size: 12px; }
.legend i { display: inline-block; width: 14px; height: 3px; margin-right: 5px; vertical-align: 3px; border-radius: 2px; }
.readout {
  position: absolute; top: 8px; pointer-events: none; padding: 6px 9px; white-space: nowrap;
  background: var(--card); border: 1px solid var(--line); border-radius: 6px;
  box-shadow: 0 2px 8px rgb(0 0 0 / 0.15); font-size: 12px; line-height: 1.5;
}
.readout b { font-weight: 600; }
.readout i { display: inline-block; width: 8px; height: 8px; border-radius: 4px; margin-right: 6px; }
details { margin-top: 10px; }
summary { cursor: pointer; font-weight: 600; padding: 4px 0; }
.samples { display: grid; gap: 10px; grid-template-columns: repeat(auto-fill, minmax(128px, 1fr)); margin-top: 6px; }
.samples.large { grid-template-columns: repeat(auto-fill, minmax(240px, 1fr)); }
.sample { min-width: 0; }
.sample img { display: block; width: 100%; height: auto; border-radius: 4px; background: var(--grid); }
.sample img.tiny { image-rendering: pixelated; }
.sample figcaption { color: var(--quiet); font-size: 12px; line-height: 1.35; margin-top: 4px; overflow-wrap: anywhere; }
.problem { color: var(--bad); overflow-wrap: anywhere; }
pre {
  margin: 0; padding: 12px 14px; overflow-x: auto;
  font: 12px/1.5 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
}
.table { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: 7px 12px; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
tbody tr:last-child > * { border-bottom: 0; }
thead th { color: var(--quiet); font-size: 12px; font-weight: 400; }
tbody th { font-weight: 600; }
th:first-child {
  position: sticky; left: 0; min-width: 124px; max-width: 42vw; background: var(--card);
  text-align: left; white-space: normal; overflow-wrap: anywhere;
}
th .quiet { display: block; font-size: 12px; font-weight: 400; }
svg.key { margin-right: 8px; vertical-align: 2px; }
@media (max-width: 760px) {
  body { padding: 18px 12px 36px; }
  .charts { grid-template-columns: minmax(0, 1fr); }
  .wide .plot { flex-basis: 250px; }
  .cards { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .card dd { font-size: 18px; }
  .samples { grid-template-columns: repeat(auto-fill, minmax(104px, 1fr)); }
  .samples.large { grid-template-columns: repeat(2, minmax(0, 1fr)); }
}
)css";

}  // namespace flux::metrics
