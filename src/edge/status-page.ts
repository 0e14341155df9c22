/**
 * The status page as a browser gets it: one document, with its style and its script in it, which asks for nothing but
 * `/status.json` (status-data.ts), once a second. Its policy allows these two texts by their hashes and nothing else.
 * The script puts everything that it is told into the page as text, never as markup, and keeps what is there and
 * changes it, so that what a reader has opened stays open.
 */

import { createHash } from 'node:crypto';

const STYLE = `
:root{color-scheme:light dark;--back:#f4f5f7;--card:#fff;--line:#dfe2e8;--text:#1a1f2b;--soft:#5b6475;--accent:#2456c8;--good:#12805c;--warn:#a15c00;--bad:#c1272d;--c2:#12805c;--c3:#2f7ec4;--c4:#c98a00;--c5:#c1272d;--c0:#8a92a3}
@media(prefers-color-scheme:dark){:root{--back:#0f131a;--card:#181e28;--line:#2b3341;--text:#e7eaf0;--soft:#9aa4b6;--accent:#7aa5ff;--good:#45c796;--warn:#f0b455;--bad:#ff7b76;--c2:#2fa87b;--c3:#4f9be0;--c4:#dfa32a;--c5:#e8605b;--c0:#6d778a}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--text);font:15px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;font-variant-numeric:tabular-nums}
main,header{max-width:1160px;margin:0 auto;padding:0 20px}
header{display:flex;flex-wrap:wrap;align-items:center;gap:4px 14px;padding-top:22px;padding-bottom:6px}
h1{font-size:21px;margin:0;letter-spacing:-.01em}
h2{font-size:12px;margin:26px 0 8px;color:var(--soft);text-transform:uppercase;letter-spacing:.08em;font-weight:600}
.soft{color:var(--soft)}.small{font-size:13px}.good{color:var(--good)}.warn{color:var(--warn)}.bad{color:var(--bad)}
#live{margin-left:auto;display:flex;align-items:center;gap:7px;font-size:13px;color:var(--soft)}
.dot{display:inline-block;width:9px;height:9px;border-radius:50%;background:var(--c0);flex:none}
.dot.good{background:var(--good)}.dot.warn{background:var(--warn)}.dot.bad{background:var(--bad)}
.note{display:none;border:1px solid var(--bad);color:var(--bad);border-radius:10px;padding:9px 13px;margin:10px 0;background:var(--card);overflow-wrap:anywhere}
.note.shown{display:block}
.tiles{display:grid;grid-template-columns:repeat(4,1fr);gap:12px;margin-top:12px}
.card{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:13px 15px;min-width:0}
.tile b{display:block;font-size:27px;font-weight:620;letter-spacing:-.02em;line-height:1.2;margin-top:2px}
.tile b small{font-size:14px;font-weight:500;color:var(--soft);letter-spacing:0}
svg{display:block;width:100%;height:34px;margin-top:7px;overflow:visible}
polyline{fill:none;stroke:var(--accent);stroke-width:1.6;vector-effect:non-scaling-stroke;stroke-linejoin:round}
.bar{display:flex;height:10px;border-radius:5px;overflow:hidden;background:var(--line);margin:4px 0 9px}
.bar i{display:block;height:100%}
.k2{background:var(--c2)}.k3{background:var(--c3)}.k4{background:var(--c4)}.k5{background:var(--c5)}.k0{background:var(--c0)}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:13px}
.legend span{display:flex;align-items:center;gap:6px}
.legend .dot{border-radius:3px}
.group{margin-bottom:12px}
.head{display:flex;gap:10px;align-items:baseline;justify-content:space-between;font-weight:600;overflow-wrap:anywhere}
.row{display:grid;grid-template-columns:minmax(200px,2.4fr) repeat(6,1fr);gap:10px;padding:8px 0;border-top:1px solid var(--line);align-items:center}
.row.names{border:0;padding:8px 0 5px;font-size:12px;color:var(--soft)}
.row>*{text-align:right;min-width:0}
.row>:first-child{text-align:left;display:flex;gap:9px;align-items:center;overflow-wrap:anywhere}
.rooms{display:grid;grid-template-columns:repeat(auto-fill,minmax(270px,1fr));gap:12px}
.facts{display:grid;grid-template-columns:5fr 6fr;gap:2px 16px;margin:7px 0 4px;font-size:13px}
.facts>span{display:flex;justify-content:space-between;gap:8px;white-space:nowrap}
.head>:last-child{white-space:nowrap}
summary{cursor:pointer;font-size:13px;color:var(--accent);padding:2px 0}
details ul{margin:6px 0 0;padding-left:17px;font-size:13px;color:var(--soft)}
details li{overflow-wrap:anywhere}
.cert{display:flex;justify-content:space-between;gap:14px;padding:7px 0;border-top:1px solid var(--line)}
.cert:first-child{border:0}
.cert>:first-child{overflow-wrap:anywhere}.cert>:last-child{white-space:nowrap}
footer{color:var(--soft);font-size:13px;padding:22px 0 34px;overflow-wrap:anywhere}
@media(max-width:900px){.tiles{grid-template-columns:1fr 1fr}}
@media(max-width:640px){main,header{padding-left:13px;padding-right:13px}.tile b{font-size:23px}.tiles,.rooms{gap:9px}.row.names{display:none}.row{grid-template-columns:repeat(3,1fr);gap:7px 10px}.row>:first-child{grid-column:1/-1}.row>*{text-align:left}.row>[data-name]::before{content:attr(data-name);display:block;font-size:11px;color:var(--soft)}#live{margin-left:0}.cert{flex-wrap:wrap;gap:0 14px}}
`;

const SCRIPT = `
'use strict';
const POINTS = 120, HOUR = 3600, DAY = 86400;
const $ = id => document.getElementById(id);
const lines = { rate: [], p95: [], errors: [], open: [] };
let before = null, failedSince = 0;

function make(tag, style, text) {
  const node = document.createElement(tag);
  if (style) node.className = style;
  if (text !== undefined) node.textContent = text;
  return node;
}
function say(node, text, style) {
  if (node.textContent !== text) node.textContent = text;
  if (style !== undefined && node.className !== style) node.className = style;
}
function number(value) {
  if (value >= 1e6) return (value / 1e6).toFixed(1) + ' M';
  if (value >= 1e4) return (value / 1e3).toFixed(1) + ' k';
  return value >= 100 || Number.isInteger(value) ? String(Math.round(value)) : value.toFixed(1);
}
function bytes(value) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (value >= 1024 && unit < 4) { value /= 1024; unit++; }
  return (unit && value < 100 ? value.toFixed(1) : Math.round(value)) + ' ' + units[unit];
}
function span(seconds) {
  if (seconds >= 2 * DAY) return Math.floor(seconds / DAY) + ' d';
  if (seconds >= HOUR) return Math.floor(seconds / HOUR) + ' h ' + Math.floor(seconds % HOUR / 60) + ' min';
  return seconds >= 60 ? Math.floor(seconds / 60) + ' min' : Math.max(0, Math.floor(seconds)) + ' s';
}
function time(ms) {
  if (ms < 0) return '–';
  return ms >= 1000 ? (ms / 1000).toFixed(ms < 1e4 ? 1 : 0) + ' s' : (ms < 10 ? ms.toFixed(1) : Math.round(ms)) + ' ms';
}
/* Differences of counters; one that went back has begun anew. */
function since(now, then) { return now >= then ? now - then : now; }
function differences(now, then) { return now.map((value, at) => since(value, then ? then[at] || 0 : 0)); }
/* A quantile of counts in buckets, as far as their bounds tell; -1: there are none. */
function quantile(counts, bounds, part) {
  const all = counts.reduce((sum, count) => sum + count, 0);
  let left = all * part;
  if (all === 0) return -1;
  for (let at = 0; at < bounds.length; at++) {
    if (left <= counts[at]) {
      const low = at === 0 ? 0 : bounds[at - 1];
      return low + (bounds[at] - low) * (left / counts[at]);
    }
    left -= counts[at];
  }
  return bounds[bounds.length - 1];
}
/* One node for each item, by key: made once, filled each time, gone with its item. */
function keep(parent, items, keyOf, build, fill) {
  parent.kept = parent.kept || new Map();
  const seen = new Set();
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    if (seen.has(key)) continue;
    seen.add(key);
    let node = parent.kept.get(key);
    if (!node) { node = build(item); parent.kept.set(key, node); }
    if (node !== place) parent.insertBefore(node, place);
    else place = place.nextElementSibling;
    fill(node, item);
  }
  for (const [key, node] of parent.kept) if (!seen.has(key)) { node.remove(); parent.kept.delete(key); }
}

const CLASSES = [['2xx', 'k2'], ['3xx', 'k3'], ['4xx', 'k4'], ['5xx', 'k5'], ['none', 'k0']];
const COLUMNS = ['Server', 'Weight', 'In flight', 'Requests/s', 'p95', 'Failed', 'Connections'];

/* The last two minutes of a figure, as a line whose top is the most of them. */
function draw(name, value) {
  const line = lines[name];
  line.push(value);
  if (line.length > POINTS) line.shift();
  const most = Math.max(...line) || 1;
  const x = at => (POINTS - line.length + at) * 100 / (POINTS - 1);
  $('line-' + name).setAttribute('points', line.map((each, at) => x(at).toFixed(2) + ',' + (31 - 29 * each / most).toFixed(2)).join(' '));
}

function showTiles(now, then, seconds) {
  const requests = since(now.requests.total, then.requests.total) / seconds;
  const durations = differences(now.requests.durations, then.requests.durations);
  const [p50, p95, p99] = [0.5, 0.95, 0.99].map(part => quantile(durations, now.boundsMs, part));
  const classes = CLASSES.map(([name]) => since(now.requests.classes[name] || 0, then.requests.classes[name] || 0) / seconds);
  const all = classes.reduce((sum, value) => sum + value, 0);
  const wrong = all > 0 ? classes[3] / all : 0;
  draw('rate', requests);
  draw('p95', Math.max(0, p95));
  draw('errors', wrong);
  say($('rate'), number(requests));
  say($('active'), number(now.requests.active) + ' under way, ' + number(now.requests.total) + ' since the start');
  say($('p95'), time(p95));
  say($('p'), 'p50 ' + time(p50) + ', p99 ' + time(p99));
  say($('errors'), (wrong * 100).toFixed(wrong > 0 && wrong < 0.1 ? 1 : 0), wrong > 0.05 ? 'bad' : wrong > 0 ? 'warn' : '');
  say($('errors-more'), number(classes[3]) + ' a second answered with 5xx');
  const { open, max, shaking, refused } = now.connections;
  say($('open'), number(open), max > 0 && open >= max * 0.9 ? 'bad' : '');
  say($('open-max'), max > 0 ? ' of ' + number(max) : '');
  say($('open-more'), number(shaking) + ' in handshakes, ' + number(refused) + ' refused');
  draw('open', open);
  CLASSES.forEach(([name], at) => {
    $('bar-' + name).style.width = (all > 0 ? classes[at] / all * 100 : 0) + '%';
    say($('per-' + name), name + ' ' + number(classes[at]) + '/s');
  });
  const bytesOf = key => bytes(since(now.bytes[key], then.bytes[key]) / seconds) + '/s';
  say($('bytes'), 'received ' + bytesOf('received') + ', sent ' + bytesOf('sent'));
}

function buildGroup() {
  const node = make('div', 'card group');
  const head = node.appendChild(make('div', 'head'));
  head.append(make('span'), make('span', 'small'));
  const names = node.appendChild(make('div', 'row names'));
  for (const name of COLUMNS) names.append(make('span', '', name));
  node.append(make('div'));
  return node;
}
function buildServer() {
  const node = make('div', 'row');
  const name = node.appendChild(make('span'));
  name.append(make('i', 'dot'), make('span'));
  for (const column of COLUMNS.slice(1)) node.appendChild(make('span')).dataset.name = column;
  return node;
}
function showUpstreams(now, then, seconds) {
  const old = new Map((then.servers || []).map(server => [server.url, server]));
  const known = new Map(now.servers.map(server => [server.url, server]));
  $('no-upstreams').hidden = now.upstreams.length > 0;
  keep($('upstreams'), now.upstreams, group => group.name, buildGroup, (node, group) => {
    const [head, , rows] = node.children;
    const well = group.servers.filter(({ trouble }) => trouble === '').length;
    say(head.firstChild, group.name);
    say(head.lastChild, well + ' of ' + group.servers.length + ' healthy', 'small ' + (well === group.servers.length ? 'good' : well > 0 ? 'warn' : 'bad'));
    keep(rows, group.servers, server => server.url, buildServer, (row, server) => {
      const counts = known.get(server.url);
      const past = old.get(server.url);
      const latency = counts ? differences(counts.latency, past && past.latency) : [];
      const asked = latency.reduce((sum, count) => sum + count, 0);
      const [name, weight, inFlight, rate, p95, failed, connections] = row.children;
      say(name.firstChild, '', 'dot ' + (server.trouble === '' ? 'good' : 'bad'));
      say(name.lastChild, server.url + (server.trouble === '' ? '' : ' – ' + server.trouble));
      say(weight, String(server.weight));
      say(inFlight, counts ? number(counts.inFlight) : '–');
      say(rate, number(asked / seconds));
      say(p95, time(quantile(latency, now.boundsMs, 0.95)));
      say(failed, counts ? number(counts.failures) + (counts.retries ? ' (' + number(counts.retries) + ' retried)' : '') : '–', counts && past && counts.failures > past.failures ? 'bad' : '');
      say(connections, counts ? counts.busy + ' busy, ' + counts.idle + ' idle' : '–');
    });
  });
}

const FACTS = ['Process', 'Memory', 'Restarts', 'Up'];
function buildRoom() {
  const node = make('div', 'card');
  const head = node.appendChild(make('div', 'head'));
  head.append(make('span'), make('span', 'small'));
  const facts = node.appendChild(make('div', 'facts'));
  for (const name of FACTS) facts.appendChild(make('span')).append(make('span', 'soft', name), make('span'));
  const details = node.appendChild(make('details'));
  details.append(make('summary'), make('ul'));
  return node;
}
function showRooms(now) {
  const seconds = now.nowMs / 1000;
  $('rooms-part').hidden = now.rooms.length === 0;
  keep($('rooms'), now.rooms, room => room.name, buildRoom, (node, room) => {
    const [head, facts, details] = node.children;
    say(head.firstChild, room.name);
    say(head.lastChild, room.state, 'small ' + (room.state === 'ready' ? 'good' : room.state === 'ended' ? 'bad' : 'warn'));
    const values = [room.pid || '–', room.residentBytes ? bytes(room.residentBytes) : '–', room.restarts, room.startedSeconds ? span(seconds - room.startedSeconds) : '–'];
    values.forEach((value, at) => say(facts.children[at].lastChild, String(value), at === 2 && room.restarts > 0 ? 'warn' : ''));
    details.hidden = room.measures.length === 0;
    say(details.firstChild, 'Confined by ' + room.measures.length + (room.measures.length === 1 ? ' measure' : ' measures'));
    keep(details.lastChild, room.measures.map((text, at) => [at, text]), ([at]) => at, () => make('li'), (item, [, text]) => say(item, text));
  });
}

function showCertificates(now) {
  $('certificates-part').hidden = now.certificates.length === 0;
  const build = () => { const node = make('div', 'cert'); node.append(make('span'), make('span')); return node; };
  keep($('certificates'), now.certificates, ({ name }) => name, build, (node, { name, expirySeconds }) => {
    const days = Math.floor((expirySeconds - now.nowMs / 1000) / DAY);
    say(node.firstChild, name);
    const date = new Date(expirySeconds * 1000).toISOString().slice(0, 10);
    say(node.lastChild, days < 0 ? 'ended on ' + date : days + ' days, until ' + date, days < 7 ? 'bad' : days < 21 ? 'warn' : 'good');
  });
}

function showHead(now) {
  const { configuration } = now;
  const seconds = now.nowMs / 1000;
  const parts = [now.version, 'up ' + span(seconds - now.startedSeconds)];
  if (configuration.generation > 0) parts.push('configuration ' + configuration.generation);
  parts.push('in force for ' + span(seconds - configuration.sinceSeconds));
  say($('head'), parts.join(' · '));
  say($('note'), configuration.refused === '' ? '' : 'The configuration that was last asked for is wrong; the one before it stays in force. ' + configuration.refused, 'note' + (configuration.refused === '' ? '' : ' shown'));
  const workers = now.workers === 1 ? 'one worker' : now.workers + ' workers';
  say($('foot'), ['Node.js ' + now.nodejs, now.io, workers, bytes(now.residentBytes) + ' of memory', number(now.log.dropped) + ' entries of the log dropped', now.configuration.source].join(' · '));
}

function show(now) {
  showHead(now);
  showRooms(now);
  showCertificates(now);
  const then = before || now;
  const seconds = before ? Math.max(0.2, (now.nowMs - before.nowMs) / 1000) : 1;
  showTiles(now, then, seconds);
  showUpstreams(now, then, seconds);
  before = now;
}

function showLive(isLive) {
  if (isLive) failedSince = 0;
  else failedSince = failedSince || Date.now();
  say($('live-dot'), '', 'dot ' + (isLive ? 'good' : 'bad'));
  say($('live-text'), isLive ? 'live' : 'no answer for ' + span((Date.now() - failedSince) / 1000));
}

async function look() {
  try {
    const answer = await fetch('/status.json', { cache: 'no-store', signal: AbortSignal.timeout(5000) });
    if (!answer.ok) throw new Error(String(answer.status));
    show(await answer.json());
    showLive(true);
  } catch (error) {
    showLive(false);
    console.error(error);
  }
}

async function begin() {
  for (;;) {
    if (!document.hidden) await look();
    await new Promise(done => setTimeout(done, 1000));
  }
}
begin();
`;

const CLASSES: readonly (readonly [string, string])[] = [
  ['2xx', 'k2'],
  ['3xx', 'k3'],
  ['4xx', 'k4'],
  ['5xx', 'k5'],
  ['none', 'k0'],
];

/** What a figure was over the last two minutes; the figure itself stands above. */
function lineOf(name: string): string {
  return `<svg viewBox="0 0 100 32" preserveAspectRatio="none" aria-hidden="true"><polyline id="line-${name}" points=""/></svg>`;
}

const BODY = `
<header><h1>Sallyport</h1><span class="soft small" id="head"></span><span id="live"><i class="dot" id="live-dot"></i><span id="live-text">connecting</span></span></header>
<main>
<noscript><p class="note shown">This page needs its script to be allowed. The same in numbers is at <a href="/status.json">/status.json</a>.</p></noscript>
<p class="note" id="note"></p>
<div class="tiles">
<div class="card tile"><span class="soft small">Requests</span><b><span id="rate">–</span> <small>a second</small></b><span class="soft small" id="active"></span>${lineOf('rate')}</div>
<div class="card tile"><span class="soft small">95 of 100 answered within</span><b id="p95">–</b><span class="soft small" id="p"></span>${lineOf('p95')}</div>
<div class="card tile"><span class="soft small">Errors</span><b><span id="errors">–</span> <small>%</small></b><span class="soft small" id="errors-more"></span>${lineOf('errors')}</div>
<div class="card tile"><span class="soft small">Connections</span><b><span id="open">–</span><small id="open-max"></small></b><span class="soft small" id="open-more"></span>${lineOf('open')}</div>
</div>
<h2>Answers</h2>
<div class="card"><div class="bar">${CLASSES.map(([name, style]) => `<i class="${style}" id="bar-${name}"></i>`).join('')}</div>
<div class="legend">${CLASSES.map(([name, style]) => `<span><i class="dot ${style}"></i><span id="per-${name}">${name}</span></span>`).join('')}<span class="soft" id="bytes"></span></div></div>
<h2>Upstreams</h2>
<p class="soft" id="no-upstreams" hidden>No route has a backend.</p>
<div id="upstreams"></div>
<section id="rooms-part" hidden><h2>Rooms</h2><div class="rooms" id="rooms"></div></section>
<section id="certificates-part" hidden><h2>Certificates</h2><div class="card" id="certificates"></div></section>
<footer id="foot"></footer>
</main>
`;

/** The whole document. */
export const STATUS_PAGE: string = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><title>Sallyport</title><link rel="icon" href="data:,"><style>${STYLE}</style></head><body>${BODY}<script>${SCRIPT}</script></body></html>
`;

function hashOf(text: string): string {
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
}

/** What a browser may do with it (CSP Level 3): this style, this script, and ask this server. */
export const STATUS_POLICY: string = [
  "default-src 'none'",
  `style-src ${hashOf(STYLE)}`,
  `script-src ${hashOf(SCRIPT)}`,
  "connect-src 'self'",
  'img-src data:',
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');
