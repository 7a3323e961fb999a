/** What a page of a report must be, for tests. */
import assert from 'node:assert/strict';

const VOID = /^(?:meta|path|br|input|!doctype)$/;
const TAG = /<(\/?)([a-z!][a-z0-9]*)((?:"[^"]*"|[^>"])*)>/gi;

/** One file that needs nothing else, in which every element that is opened is closed, and every number is one. */
export function assertPage(html: string): void {
  assert.ok(html.startsWith('<!doctype html>'));
  const scripts = [...html.matchAll(/<script type="application\/json">(.*?)<\/script>/gs)];
  for (const [, json] of scripts) JSON.parse(json!);
  const [style] = /<style>.*?<\/style>/s.exec(html)!;
  assert.ok(!/@import|url\(/.test(style), 'the style needs nothing else');
  const body = html.replaceAll(/(<(script|style)[^>]*>).*?(<\/\2>)/gs, '$1$3');
  assert.ok(!/\ssrc=|<(?:link|base)\b/.test(body), 'nothing is fetched');
  const links = [...body.matchAll(/\shref="([^"]*)"/g)].map(([, link]) => link!);
  for (const link of links) assert.match(link, /^(?:#|[\w.%-]+$)/, 'links lead to this page, or to one beside it');
  const open: string[] = [];
  for (const [, slash, name, rest] of body.matchAll(TAG)) {
    if (VOID.test(name!.toLowerCase()) || rest!.endsWith('/')) continue;
    if (slash === '') open.push(name!);
    else assert.equal(open.pop(), name, `a ${name} is closed that is not open`);
  }
  assert.deepEqual(open, []);
  for (const [, anchor] of body.matchAll(/href="#([^"]*)"/g)) assert.ok(body.includes(`id="${anchor}"`), anchor);
  assert.ok(!/NaN|undefined|Infinity/.test(body), 'every number is one');
}
