/** What all reports share: style, script and frame of a page. Colours are slots: --c1 .. --c4 hold in light and in dark, also for the colour-blind. */

const STYLE = `
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
.grid2:empty{display:none}.grid2{margin-bottom:16px;display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:16px}
.card{padding:16px 18px;margin:0;min-width:0}.wide{grid-column:1/-1}
@media(max-width:820px){.grid2{grid-template-columns:minmax(0,1fr)}}
figcaption{display:flex;flex-wrap:wrap;justify-content:space-between;align-items:baseline;gap:2px 12px;margin-bottom:6px}
.legend{display:flex;flex-wrap:wrap;gap:2px 14px;font-size:12.5px;color:var(--soft)}
.key::before{content:"";display:inline-block;width:14px;height:3px;border-radius:2px;margin-right:6px;vertical-align:middle;background:var(--k)}
.c1{--k:var(--c1)}.c2{--k:var(--c2)}.c3{--k:var(--c3)}.c4{--k:var(--c4)}
.times{--gutter:58px}
.plot{display:grid;grid-template-columns:var(--gutter) minmax(0,1fr);margin-top:10px}
.area{position:relative;overflow:hidden;touch-action:pan-y;cursor:crosshair;user-select:none;-webkit-user-select:none}.chart{height:168px}
.chart svg{position:absolute;inset:0;width:100%;height:100%;display:block}svg path{vector-effect:non-scaling-stroke}
.ys{position:relative}.ys span{position:absolute;right:8px;transform:translateY(-50%);white-space:nowrap}
.ys,.xs,.barlabels{color:var(--soft);font-size:11.5px;line-height:1.2}
.xs{grid-column:2;position:relative;height:19px;overflow:hidden}.xs span{position:absolute;top:5px;white-space:nowrap;transform:translateX(-50%);left:calc((var(--a) - var(--from))/var(--span)*100%)}.xs .first{transform:none}.xs .last{transform:translateX(-100%)}
.grid{stroke:var(--faint);stroke-width:1}
.line{fill:none;stroke:var(--k);stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}.fill{fill:var(--k);opacity:.13}
.bound{stroke:var(--bad);stroke-dasharray:5 4}.boundtext{position:absolute;right:2px;transform:translateY(-110%);color:var(--bad);font-size:11.5px}
.cross{position:absolute;top:0;bottom:0;width:1px;background:var(--soft);pointer-events:none;visibility:hidden;left:calc((var(--at,0) - var(--from))/var(--span)*100%)}.pointed .cross{visibility:visible}
.span{position:absolute;top:calc(var(--i,0)*100%/var(--n,1));height:calc(100%/var(--n,1));min-width:2px;background:var(--k);border-radius:3px;overflow:hidden;white-space:nowrap;font-size:10.5px;font-weight:600;line-height:var(--rowh,16px);padding:0;text-indent:4px;color:#fff;left:calc((var(--a) - var(--from))/var(--span)*100%);width:calc((var(--b) - var(--a))/var(--span)*100%)}
.mark{position:absolute;top:0;bottom:0;width:3px;margin-left:-1.5px;background:var(--k);border-radius:2px;left:calc((var(--a) - var(--from))/var(--span)*100%)}
.row{display:grid;grid-template-columns:var(--gutter) minmax(0,1fr);align-items:center;margin:2px 0}.row .area{height:var(--rowh,16px);background:var(--bg);border-radius:4px}.row .name{font-size:12.5px;color:var(--soft);padding-right:10px;overflow-wrap:anywhere;line-height:1.25}
.drag{position:absolute;top:0;bottom:0;background:var(--c1);opacity:.22;pointer-events:none}
.tip{position:fixed;pointer-events:none;visibility:hidden;background:var(--ink);color:var(--bg);border-radius:8px;padding:7px 10px;font-size:12.5px;line-height:1.45;max-width:min(340px,80vw);z-index:9;overflow-wrap:anywhere}
.tip b{font-weight:600}
.bars{display:flex;align-items:flex-end;gap:1px;height:150px;border-bottom:1px solid var(--faint);margin-top:10px}.bars i{flex:1;min-width:1px;height:100%;background:linear-gradient(var(--c2),var(--c2)) no-repeat bottom/100% calc(var(--h)*1%)}.bars i:hover{background-image:linear-gradient(var(--c1),var(--c1))}
.barlabels{position:relative;height:18px;overflow:hidden}.barlabels span{position:absolute;top:4px;white-space:nowrap}
.note{margin:6px 0 0;color:var(--soft);font-size:12.5px}
table{border-collapse:collapse;width:100%;font-size:13.5px}th{font-weight:500;color:var(--soft);text-align:left}td,th{padding:6px 10px 6px 0;border-top:1px solid var(--faint);vertical-align:top;overflow-wrap:anywhere}
thead td,thead th{border:0;color:var(--soft);font-size:12.5px}.numbers td{text-align:right;white-space:nowrap}.numbers th{min-width:9em}.numbers thead th{text-align:right;min-width:0}.numbers thead th:first-child{text-align:left}.facts th{width:38%}
tr.bad td,tr.bad th{color:var(--bad)}
.violation{border-color:var(--bad)}ol{margin:4px 0 0;padding-left:22px;font-size:13px}.fields{margin:0;font-size:13px}pre{margin:4px 0 0;padding:10px 12px;background:var(--bg);border-radius:8px;white-space:pre-wrap;word-break:break-word;font:12.5px/1.5 ui-monospace,SFMono-Regular,Menlo,monospace}
a{color:var(--c1)}
.scroll{overflow-x:auto}
@media(max-width:620px){main{padding:14px 10px 40px}header{padding:16px 18px}h1{font-size:18px}.card{padding:13px 12px}.tiles{grid-template-columns:repeat(2,minmax(0,1fr));gap:8px}.tile .value{font-size:19px}.times{--gutter:48px}.xs span:nth-child(even){display:none}.chart{height:140px}.barlabels span:nth-child(even){display:none}}
`;

/** Values under the pointer; dragging over a chart looks closer, in all of them, and a double click or Escape goes back. */
const SCRIPT = `
const tip = document.createElement('div');
tip.className = 'tip';
document.body.append(tip);
const place = (event) => {
  tip.style.visibility = 'visible';
  const { offsetWidth: width, offsetHeight: height } = tip;
  tip.style.left = Math.max(6, event.clientX > innerWidth / 2 ? event.clientX - width - 14 : event.clientX + 14) + 'px';
  tip.style.top = Math.max(6, Math.min(innerHeight - height - 6, event.clientY - height / 2)) + 'px';
};
const show = (rows, event) => {
  tip.replaceChildren(...rows.map(([name, value]) => {
    const row = document.createElement('div'), strong = document.createElement('b');
    strong.textContent = value; row.append(name ? name + ' ' : '', strong);
    return row;
  }));
  place(event);
};
const hide = () => { tip.style.visibility = 'hidden'; };
const niceStep = (max) => {
  const power = 10 ** Math.floor(Math.log10(max / 4)), digit = max / 4 / power;
  return (digit <= 1 ? 1 : digit <= 2 ? 2 : digit <= 5 ? 5 : 10) * power;
};
const short = (second) => String(Number(second.toFixed(3)));
for (const times of document.querySelectorAll('.times')) {
  const whole = Number(times.dataset.seconds);
  let from = 0, span = whole, start = null;
  const look = (low, high) => {
    from = Math.max(0, low); span = Math.max(whole / 1e4, Math.min(whole, high) - from);
    times.style.setProperty('--from', from); times.style.setProperty('--span', span);
    times.classList.toggle('close', span < whole * 0.999);
    for (const svg of times.querySelectorAll('.chart svg')) svg.setAttribute('viewBox', from + ' 0 ' + span + ' 100');
    const step = niceStep(span * 0.5), ticks = [];
    for (let at = Math.ceil(from / step) * step; at <= from + span * 1.0001; at += step) ticks.push(at);
    for (const xs of times.querySelectorAll('.xs')) xs.replaceChildren(...ticks.map((at) => {
      const tick = document.createElement('span');
      tick.style.setProperty('--a', at); tick.textContent = short(at) + ' s';
      tick.className = at - from < span * 0.02 ? 'first' : at - from > span * 0.96 ? 'last' : '';
      return tick;
    }));
    for (const button of times.querySelectorAll('[data-look]')) {
      const [low2, high2] = button.dataset.look.split(' ').map(Number);
      button.setAttribute('aria-pressed', String(Math.abs(low2 - from) < 1e-3 && Math.abs(high2 - from - span) < 1e-3));
    }
  };
  for (const button of times.querySelectorAll('[data-look]')) {
    button.addEventListener('click', () => look(...button.dataset.look.split(' ').map(Number)));
  }
  const secondAt = (area, event) => {
    const box = area.getBoundingClientRect();
    return from + Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)) * span;
  };
  for (const area of times.querySelectorAll('.area')) {
    const json = area.parentElement.querySelector('script');
    const data = json && JSON.parse(json.textContent);
    const drag = document.createElement('i');
    drag.className = 'drag'; drag.hidden = true; area.append(drag);
    const point = (event) => {
      const second = secondAt(area, event);
      times.style.setProperty('--at', second); times.classList.add('pointed');
      if (start !== null && (event.buttons & 1) === 1) {
        const [low, high] = [Math.min(start, second), Math.max(start, second)];
        drag.hidden = false;
        drag.style.left = ((low - from) / span) * 100 + '%'; drag.style.width = ((high - low) / span) * 100 + '%';
      }
      const under = event.target.closest('[title], [data-title]');
      if (under && area.contains(under)) { own(under); show([['', under.dataset.title], ['', short(second) + ' s']], event); return; }
      if (!data || data.seconds.length === 0) { show([['', short(second) + ' s']], event); return; }
      let i = 0;
      const last = data.seconds.length - 1;
      while (i < last && Math.abs(data.seconds[i + 1] - second) <= Math.abs(data.seconds[i] - second)) i++;
      show([['', short(data.seconds[i]) + ' s'], ...data.lines.map((line) => [line.name, line.text[i]])], event);
    };
    area.addEventListener('pointerdown', (event) => {
      if (event.button === 0) start = secondAt(area, event);
      point(event);
    });
    area.addEventListener('pointermove', point);
    const end = (event) => {
      drag.hidden = true;
      if (start !== null && event.type === 'pointerup') {
        const second = secondAt(area, event);
        if (Math.abs(second - start) > span / 100) look(Math.min(start, second), Math.max(start, second));
      }
      start = null;
      // A finger leaves as soon as it is lifted: what it pointed at stays until it points elsewhere.
      if (event.type === 'pointerleave' && event.pointerType !== 'touch') { times.classList.remove('pointed'); hide(); }
    };
    for (const kind of ['pointerup', 'pointerleave', 'pointercancel']) area.addEventListener(kind, end);
    area.addEventListener('dblclick', () => look(0, whole));
  }
  addEventListener('keydown', (event) => { if (event.key === 'Escape') look(0, whole); });
}
addEventListener('pointerdown', (event) => { if (!event.target.closest('.area, .bars')) hide(); }, true);
addEventListener('scroll', hide, { passive: true });
function own(element) {
  if (!element.title) return;
  element.dataset.title = element.title; element.setAttribute('aria-label', element.title); element.removeAttribute('title');
}
for (const bars of document.querySelectorAll('.bars')) {
  const point = (event) => {
    const under = event.target.closest('[title], [data-title]');
    if (!under) { hide(); return; }
    own(under); show([['', under.dataset.title]], event);
  };
  bars.addEventListener('pointermove', point);
  bars.addEventListener('pointerdown', point);
  bars.addEventListener('pointerleave', (event) => { if (event.pointerType !== 'touch') hide(); });
}
`;

export function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}

export interface Page {
  /** Of the window. */
  readonly title: string;
  /** What this is, small, above the verdict. */
  readonly kicker: string;
  /** One sentence. */
  readonly verdict: string;
  readonly isGood: boolean;
  /** HTML below the verdict, in its box. */
  readonly head?: string;
  readonly body: string;
  /** What only this page needs. */
  readonly style?: string;
}

/** One file that needs nothing else. Light and dark follow the reader's system. */
export function renderPage({ title, kicker, verdict, isGood, head = '', body, style = '' }: Page): string {
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><meta name="color-scheme" content="light dark">
<title>${escape(title)}</title><style>${STYLE}${style}</style></head><body><main>
<header class="${isGood ? 'good' : 'bad'}"><p class="kicker">${escape(kicker)}</p><h1>${escape(verdict)}</h1>${head}</header>
${body}
</main><script>${SCRIPT}</script></body></html>
`;
}

export function tile(label: string, value: string, detail: string, isBad = false): string {
  return `<div class="tile${isBad ? ' bad' : ''}"><div class="label">${escape(label)}</div><div class="value">${escape(value)}</div><div class="detail">${escape(detail)}</div></div>`;
}

export function table(rows: readonly (readonly [string, string])[]): string {
  return `<table class="facts">${rows.map(([name, value]) => `<tr><th scope="row">${escape(name)}</th><td>${escape(value)}</td></tr>`).join('')}</table>`;
}

export function section(title: string, html: string): string {
  return `<section class="card wide"><h2>${escape(title)}</h2>${html}</section>`;
}

export function numbersTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = (row: readonly string[]): string =>
    row.map((cell, n) => (n === 0 ? `<th scope="row">${escape(cell)}</th>` : `<td>${escape(cell)}</td>`)).join('');
  return `<div class="scroll"><table class="numbers"><thead><tr>${head.map((name) => `<th scope="col">${escape(name)}</th>`).join('')}</tr></thead><tbody>${rows.map((row) => `<tr>${cells(row)}</tr>`).join('')}</tbody></table></div>`;
}

export function details(summary: string, html: string): string {
  return `<details><summary>${escape(summary)}</summary>${html}</details>`;
}

export function legend(items: readonly (readonly [look: string, name: string])[]): string {
  return `<p class="legendline">${items.map(([look, name]) => `<span class="swatch ${look}">${escape(name)}</span>`).join('')}</p>`;
}
