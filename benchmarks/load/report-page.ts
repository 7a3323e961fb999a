/** Style and script of the report. Colours are slots: --c1 .. --c4 hold in light and in dark, also for the colour-blind. */

export const REPORT_STYLE = `
:root{--bg:#f6f7f9;--card:#fff;--ink:#16202c;--soft:#5a6878;--faint:#e4e8ee;--good:#0b7a4b;--goodbg:#e6f5ee;--bad:#b3261e;--badbg:#fdeceb;--c1:#2f6fed;--c2:#0f9d8a;--c3:#d98a00;--c4:#c2417a}
@media(prefers-color-scheme:dark){:root{--bg:#0f141a;--card:#182029;--ink:#e7edf3;--soft:#97a6b6;--faint:#28333f;--good:#4fd39a;--goodbg:#12302a;--bad:#ff8a80;--badbg:#3a1a1a;--c1:#7aa7ff;--c2:#45d0bd;--c3:#ffb84d;--c4:#f584b5}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;font-variant-numeric:tabular-nums}
main{max-width:1240px;margin:0 auto;padding:28px 20px 60px}
header{border-radius:14px;padding:20px 26px;margin-bottom:18px;background:var(--goodbg);border-left:6px solid var(--good)}
header.bad{background:var(--badbg);border-color:var(--bad)}
.kicker{margin:0;color:var(--soft);letter-spacing:.04em;font-size:13px}
h1{margin:2px 0 0;font-size:22px;line-height:1.35;font-weight:650;overflow-wrap:anywhere}
h2{font-size:16px;margin:0 0 10px}h3{font-size:14px;margin:0}h4{font-size:13px;margin:14px 0 2px}
.warning{background:var(--card);border-left:6px solid var(--c3);border-radius:10px;padding:12px 18px;margin:0 0 18px}
.tiles{display:grid;grid-template-columns:repeat(8,minmax(0,1fr));gap:12px;margin-bottom:18px}
@media(max-width:1000px){.tiles{grid-template-columns:repeat(auto-fit,minmax(150px,1fr))}}.tile,.card{background:var(--card);border-radius:12px;border:1px solid var(--faint)}
.tile{padding:12px 14px}.tile .label{color:var(--soft);font-size:13px}.tile .value{font-size:22px;font-weight:650;line-height:1.25}.tile .detail{color:var(--soft);font-size:12.5px}
.tile.bad{border-color:var(--bad)}.tile.bad .value{color:var(--bad)}
.grid2{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:16px}
.card{padding:16px 18px;margin:0;min-width:0}.wide{grid-column:1/-1}
@media(max-width:820px){.grid2{grid-template-columns:minmax(0,1fr)}}
figcaption{display:flex;justify-content:space-between;align-items:baseline;gap:12px;margin-bottom:6px}
.legend{display:flex;gap:14px;font-size:12.5px;color:var(--soft)}
.key::before{content:"";display:inline-block;width:14px;height:3px;border-radius:2px;margin-right:6px;vertical-align:middle;background:var(--k)}
.c1{--k:var(--c1)}.c2{--k:var(--c2)}.c3{--k:var(--c3)}.c4{--k:var(--c4)}
.plot{position:relative}svg{display:block;width:100%;height:auto;overflow:visible}
.grid{stroke:var(--faint);stroke-width:1}.tick{fill:var(--soft);font-size:11.5px}
.line{fill:none;stroke:var(--k);stroke-width:2;stroke-linejoin:round;stroke-linecap:round}.area{fill:var(--k);opacity:.13}.dot{fill:var(--k)}
.bound{stroke:var(--bad);stroke-dasharray:5 4}.boundtext{fill:var(--bad);font-size:11.5px}
.bar{fill:var(--c2)}.bar:hover{fill:var(--c1)}
.cross{stroke:var(--soft);stroke-width:1;visibility:hidden}
.tip{position:absolute;top:4px;pointer-events:none;visibility:hidden;background:var(--ink);color:var(--bg);border-radius:8px;padding:7px 10px;font-size:12.5px;line-height:1.45;white-space:nowrap;z-index:2}
.tip b{font-weight:600}
.note{margin:6px 0 0;color:var(--soft);font-size:12.5px}
table{border-collapse:collapse;width:100%;font-size:13.5px}th{font-weight:500;color:var(--soft);text-align:left}td,th{padding:6px 10px 6px 0;border-top:1px solid var(--faint);vertical-align:top;overflow-wrap:anywhere}
thead td,thead th{border:0;color:var(--soft);font-size:12.5px}.numbers td{text-align:right;white-space:nowrap}.facts th{width:38%}
tr.bad td,tr.bad th{color:var(--bad)}
.violation{border-color:var(--bad)}ol{margin:4px 0 0;padding-left:22px;font-size:13px}.fields{margin:0;font-size:13px}pre{margin:4px 0 0;padding:10px 12px;background:var(--bg);border-radius:8px;white-space:pre-wrap;word-break:break-word;font:12.5px/1.5 ui-monospace,SFMono-Regular,Menlo,monospace}
`;

export const REPORT_SCRIPT = `
for (const plot of document.querySelectorAll('.plot')) {
  const data = JSON.parse(plot.querySelector('script').textContent);
  const svg = plot.querySelector('svg'), cross = plot.querySelector('.cross'), tip = plot.querySelector('.tip');
  const last = data.seconds.length - 1;
  svg.addEventListener('pointermove', (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * data.width;
    const span = Math.max(1, data.seconds[last]);
    const second = ((x - data.left) / (data.right - data.left)) * span;
    let i = 0;
    while (i < last && Math.abs(data.seconds[i + 1] - second) <= Math.abs(data.seconds[i] - second)) i++;
    const at = data.left + ((data.right - data.left) * data.seconds[i]) / span;
    cross.setAttribute('x1', at); cross.setAttribute('x2', at); cross.style.visibility = 'visible';
    tip.replaceChildren();
    const rows = [['', data.seconds[i] + ' s'], ...data.lines.map((line) => [line.name, line.text[i]])];
    for (const [name, value] of rows) {
      const row = document.createElement('div'), strong = document.createElement('b');
      strong.textContent = value; row.append(name ? name + ' ' : '', strong); tip.append(row);
    }
    tip.style.visibility = 'visible';
    const left = (at / data.width) * box.width;
    tip.style.left = (left > box.width / 2 ? left - tip.offsetWidth - 10 : left + 10) + 'px';
  });
  svg.addEventListener('pointerleave', () => { cross.style.visibility = 'hidden'; tip.style.visibility = 'hidden'; });
}
`;
