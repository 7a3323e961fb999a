/** What the pages of `dunlin sim` need besides the common style (reports/page.ts). */
export const SIM_STYLE = `
.facts-line{margin:4px 0 0;color:var(--soft);font-size:13.5px;overflow-wrap:anywhere}code{font:12.5px/1.5 ui-monospace,SFMono-Regular,Menlo,monospace;overflow-wrap:anywhere}
header code{background:var(--card);border:1px solid var(--faint);border-radius:6px;padding:1px 6px;color:var(--ink)}
.card>.times{--gutter:172px}.card>.times .chart{height:124px}.times h2{margin:24px 0 6px}.track{margin:18px 0 0}
.tools{display:flex;flex-wrap:wrap;gap:8px;align-items:center;margin-bottom:12px}.tools .note{margin:0}
button{font:inherit;font-size:13px;color:var(--ink);background:var(--bg);border:1px solid var(--faint);border-radius:8px;padding:4px 12px;cursor:pointer}button[aria-pressed=true]{border-color:var(--c1);box-shadow:inset 0 0 0 1px var(--c1)}button:focus-visible{outline:2px solid var(--c1);outline-offset:2px}
.span{color:var(--bg)}.row .area{margin-right:0}
.phase{background:var(--faint);color:var(--ink);border-radius:0;border-left:2px solid var(--card)}
.owner{border-radius:2px}.recovering{opacity:.42}.owner.live{opacity:.88}
.paused{background:repeating-linear-gradient(135deg,var(--card) 0 3px,transparent 3px 7px);opacity:.8;border-radius:0}
.deposed{top:auto;bottom:0;height:6px;background:var(--bad);border-radius:0}.died{width:3px;background:var(--ink)}.drain{background:repeating-linear-gradient(135deg,var(--c3) 0 4px,transparent 4px 8px);border-radius:0}
.fault{opacity:.62;border-radius:3px}.mark.fault{opacity:1}.behind{border-radius:0;opacity:.1;pointer-events:none}.mark.behind{width:1px;margin-left:0;opacity:.32}
.wrong{background:var(--bad);width:2px;z-index:3;opacity:1}.row .wrong{width:7px;margin-left:-3.5px;z-index:1}.row .wrong.thin{width:2px;margin-left:-1px;box-shadow:0 0 0 1px var(--card)}.row+.plot{margin-top:0}.owners .row{--rowh:18px;margin:3px 0}
.swatch::before{content:"";display:inline-block;width:14px;height:10px;border-radius:2px;margin-right:6px;vertical-align:-1px;background:var(--k,var(--soft))}.swatch.s-rec::before{opacity:.42;background:var(--c1)}.swatch.s-live::before{background:linear-gradient(90deg,var(--c1) 50%,var(--c2) 50%)}.swatch.s-paused::before{background:repeating-linear-gradient(135deg,var(--card) 0 2px,var(--c1) 2px 5px)}.swatch.s-deposed::before{background:var(--bad);height:5px;vertical-align:1px}.swatch.s-died::before{width:3px;background:var(--ink)}.swatch.s-wrong::before{width:3px;background:var(--bad)}.swatch.s-drain::before{background:repeating-linear-gradient(135deg,var(--c3) 0 3px,transparent 3px 6px)}
.legendline{display:flex;flex-wrap:wrap;gap:2px 16px;color:var(--soft);font-size:12.5px;margin:0 0 6px}
.chips{display:flex;flex-wrap:wrap;gap:6px;padding:0;margin:0;list-style:none;font-size:13px}.chips li{background:var(--bg);border:1px solid var(--faint);border-radius:8px;padding:2px 9px;overflow-wrap:anywhere}.chips b{font-weight:600;color:var(--soft)}.chips .bad{border-color:var(--bad);color:var(--bad)}
.moments{list-style:none;margin:6px 0 0;padding:8px 0;background:var(--bg);border-radius:8px;font:12.5px/1.5 ui-monospace,SFMono-Regular,Menlo,monospace}
.moments li{display:grid;grid-template-columns:96px minmax(0,1fr);gap:12px;padding:1px 12px;overflow-wrap:anywhere;color:var(--soft)}.moments time{text-align:right}.moments .own{color:var(--ink)}.moments .broke{color:var(--c4)}.moments .here{background:var(--badbg);color:var(--bad);font-weight:600}
details{margin-top:14px}summary{cursor:pointer;color:var(--soft);font-size:13.5px}details .scroll{max-height:420px;overflow:auto;margin-top:8px}
.sentence{white-space:pre-wrap;overflow-wrap:anywhere;margin:0 0 8px}
.counts td{text-align:right}.counts .meters{width:34%}.counts th{min-width:11em}.failures code{white-space:nowrap}.failures th,.failures td{min-width:5em}.meter{display:inline-block;width:100%;min-width:60px;height:10px;border-radius:5px;background:linear-gradient(var(--c2),var(--c2)) no-repeat left/calc(var(--h)*1%) 100%,var(--bg)}
@media(max-width:620px){.moments li{grid-template-columns:minmax(0,1fr);gap:0;padding:3px 10px}.moments time{text-align:left;font-size:11.5px}.card>.times{--gutter:46px}.counts .meters{width:auto}.counts .meter{min-width:44px}.counts th{min-width:0}.numbers.counts td,.numbers.counts th{padding-right:6px}.row{grid-template-columns:minmax(0,1fr);margin:5px 0}.row .area,.row .name{margin-left:var(--gutter)}.row .name{padding:0 0 1px}.card>.times .chart{height:128px}.xs span{font-size:10.5px}}
`;
