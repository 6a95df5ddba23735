// Draws the charts from the JSON beside it. All text goes through textContent; nothing is fetched.
'use strict';
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const unpack = (runs) => {
    const values = [];
    for (let i = 0; i < runs.length; i += 2) for (let n = 0; n < runs[i]; n++) values.push(runs[i + 1]);
    return values;
  };
  const load = data.load, demand = unpack(data.demand), ready = unpack(data.ready), paid = unpack(data.paid);
  const n = load.length, step = data.step, per = data.per_instance;
  const box = document.getElementById('chart'), tip = document.getElementById('tip');
  const H = 340, HC = 86, L = 62, R = 50, TOP = 14, GAP = 30;
  let view = [0, n], width = 0, drag = null;

  // Series that count from 0 have days, others have dates.
  const dated = data.start > 3e8;
  const pad = (x) => String(x).padStart(2, '0');
  const time = (s, short) => {
    if (!dated) {
      const day = Math.floor((s - data.start) / 86400), left = (s - data.start) % 86400;
      return `day ${day + 1}, ${pad(Math.floor(left / 3600))}:${pad(Math.floor(left % 3600 / 60))}`;
    }
    const iso = new Date(s * 1000).toISOString();
    return short ? iso.slice(5, 16).replace('T', ' ') : iso.slice(0, 16).replace('T', ' ') + ' UTC';
  };
  const number = (x) => x >= 1000 ? Math.round(x).toLocaleString('en') : String(+x.toPrecision(3));
  const make = (name, attributes, text) => {
    const node = document.createElementNS('http://www.w3.org/2000/svg', name);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const nice = (most) => {
    const raw = most / 5, power = 10 ** Math.floor(Math.log10(raw || 1));
    return [1, 2, 2.5, 5, 10].map((x) => x * power).find((x) => x >= raw) || 1;
  };

  // One column of pixels stands for many steps: the worst of them is what it shows.
  const columns = () => {
    const [a, b] = view, count = Math.min(b - a, Math.max(1, Math.floor(width - L - R))), found = [];
    for (let c = 0; c < count; c++) {
      const from = a + Math.floor(c * (b - a) / count), to = Math.max(from + 1, a + Math.floor((c + 1) * (b - a) / count));
      const one = { from, to, load: null, low: null, ready: Infinity, top: 0, paid: 0, short: 0 };
      for (let k = from; k < to; k++) {
        if (load[k] !== null) {
          one.load = one.load === null ? load[k] : Math.max(one.load, load[k]);
          one.low = one.low === null ? load[k] : Math.min(one.low, load[k]);
        }
        one.ready = Math.min(one.ready, ready[k]); one.top = Math.max(one.top, ready[k]);
        one.paid = Math.max(one.paid, paid[k]);
        if (k >= data.first) one.short = Math.max(one.short, demand[k] - ready[k]);
      }
      found.push(one);
    }
    return found;
  };

  const x = (k) => L + (k - view[0]) / (view[1] - view[0]) * (width - L - R);
  let cross = null, zoom = null, bars = [];

  const draw = () => {
    width = Math.max(360, box.clientWidth);
    const svg = make('svg', { height: H + HC, viewBox: `0 0 ${width} ${H + HC}`, role: 'img', 'aria-label': 'Load and capacity over time' });
    const cols = columns();
    let most = per;
    for (const c of cols) most = Math.max(most, c.load || 0, c.top * per, c.paid * per);
    most *= 1.05;
    const bottom = H - GAP, y = (v) => bottom - v / most * (bottom - TOP);
    const tick = nice(most);
    for (let v = 0; v <= most; v += tick) {
      svg.append(make('line', { class: 'grid', x1: L, x2: width - R, y1: y(v), y2: y(v) }));
      svg.append(make('text', { x: L - 8, y: y(v) + 4, 'text-anchor': 'end' }, number(v)));
    }
    const tickR = Math.max(1, nice(most / per));
    for (let v = 0; v * per <= most; v += tickR) svg.append(make('text', { x: width - R + 8, y: y(v * per) + 4 }, number(v)));
    svg.append(make('text', { x: 8, y: 11 }, data.metric));
    svg.append(make('text', { x: width - 6, y: 11, 'text-anchor': 'end' }, 'instances'));
    times(svg, bottom);
    if (view[0] < data.first) {
      svg.append(make('rect', { class: 's-unscored', x: L, y: TOP, width: x(Math.min(data.first, view[1])) - L, height: bottom - TOP }));
    }
    lines(svg, cols, y, bottom);
    changes(svg);
    cross = make('line', { class: 's-cross', y1: TOP, y2: H + HC - 6, visibility: 'hidden' });
    zoom = make('rect', { class: 's-zoom', y: TOP, height: bottom - TOP, visibility: 'hidden' });
    svg.append(cross, zoom);
    listen(svg);
    box.replaceChildren(svg);
    list();
  };

  const times = (svg, bottom) => {
    const seconds = (view[1] - view[0]) * step, wanted = seconds / Math.max(2, Math.floor((width - L - R) / 110));
    const every = [60, 300, 600, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 345600, 604800, 1209600, 2592000]
      .find((s) => s >= wanted) || 2592000 * Math.ceil(wanted / 2592000);
    const from = data.start + view[0] * step, base = dated ? 0 : data.start;
    for (let s = base + Math.ceil((from - base) / every) * every; s <= from + seconds; s += every) {
      const at = x((s - data.start) / step);
      svg.append(make('line', { class: 'grid', x1: at, x2: at, y1: TOP, y2: bottom }));
      if (at > L + 20 && at < width - R - 20) svg.append(make('text', { x: at, y: bottom + 17, 'text-anchor': 'middle' }, time(s, true)));
    }
  };

  const lines = (svg, cols, y, bottom) => {
    const steps = (value) => cols.map((c, i) => `${i ? 'L' : 'M'}${x(c.from).toFixed(1)},${y(value(c)).toFixed(1)}H${x(c.to).toFixed(1)}`).join('');
    const edge = steps((c) => c.ready * per);
    svg.append(make('path', { class: 's-ready', d: `${edge}V${bottom}H${x(view[0])}Z` }));
    svg.append(make('path', { class: 's-paid', d: steps((c) => c.paid * per) }));
    svg.append(make('path', { class: 's-edge', d: edge }));
    let path = '', open = false;
    for (const c of cols) {
      if (c.load === null) { open = false; continue; }
      const mid = ((x(c.from) + x(c.to)) / 2).toFixed(1);
      path += `${open ? 'L' : 'M'}${mid},${y(c.load).toFixed(1)}` + (c.low < c.load ? `V${y(c.low).toFixed(1)}V${y(c.load).toFixed(1)}` : '');
      open = true;
    }
    svg.append(make('path', { class: 's-load', d: path }));
    for (const c of cols) {
      if (c.short <= 0) continue;
      const w = Math.max(1.5, x(c.to) - x(c.from)), high = y((c.ready + c.short) * per), low = y(c.ready * per);
      svg.append(make('rect', { class: 's-short', x: x(c.from), width: w, y: high, height: Math.max(2, low - high), opacity: .75 }));
      svg.append(make('rect', { class: 's-short', x: x(c.from), width: w, y: bottom, height: 5 }));
    }
  };

  const shown = () => data.changes.filter((c) => c[0] >= view[0] && c[0] < view[1]);
  const changes = (svg) => {
    const mid = H + HC / 2 - 6, half = HC / 2 - 8, buckets = new Map();
    svg.append(make('line', { class: 'grid', x1: L, x2: width - R, y1: mid, y2: mid }));
    svg.append(make('text', { x: L - 8, y: mid + 4, 'text-anchor': 'end' }, 'changes'));
    for (const c of shown()) {
      const at = Math.round(x(c[0]) / 3) * 3, b = buckets.get(at) || { at, out: 0, in: 0, list: [] };
      if (c[2] > c[1]) b.out += c[2] - c[1]; else b.in += c[1] - c[2];
      b.list.push(c); buckets.set(at, b);
    }
    bars = [...buckets.values()];
    const most = Math.max(1, ...bars.map((b) => Math.max(b.out, b.in)));
    for (const b of bars) {
      const up = b.out / most * half, down = b.in / most * half;
      if (b.out) svg.append(make('rect', { class: 's-out', x: b.at - 1, width: 2.4, y: mid - Math.max(2, up), height: Math.max(2, up) }));
      if (b.in) svg.append(make('rect', { class: 's-in', x: b.at - 1, width: 2.4, y: mid, height: Math.max(2, down) }));
    }
  };

  const said = (c) => `${time(data.start + c[0] * step)}: ${c[1]} → ${c[2]}\n${data.reasons[c[3]]}`;
  const say = (event, text) => {
    tip.textContent = text; tip.hidden = false;
    const left = event.clientX + 16 + tip.offsetWidth > innerWidth ? event.clientX - 16 - tip.offsetWidth : event.clientX + 16;
    tip.style.left = Math.max(4, left) + 'px';
    tip.style.top = Math.max(4, Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 6)) + 'px';
  };
  const step_at = (event) => {
    const rect = box.getBoundingClientRect(), at = (event.clientX - rect.left) * width / rect.width;
    return { px: at, py: event.clientY - rect.top, k: Math.max(view[0], Math.min(view[1] - 1, Math.floor(view[0] + (at - L) / (width - L - R) * (view[1] - view[0])))) };
  };
  const hover = (event) => {
    const { px, py, k } = step_at(event);
    cross.setAttribute('x1', px); cross.setAttribute('x2', px); cross.setAttribute('visibility', 'visible');
    if (drag !== null) {
      const a = Math.min(drag, px), b = Math.max(drag, px);
      zoom.setAttribute('x', a); zoom.setAttribute('width', b - a); zoom.setAttribute('visibility', 'visible');
    }
    const near = py > H - 10 ? bars.filter((b) => Math.abs(b.at - px) < 7).sort((a, b) => Math.abs(a.at - px) - Math.abs(b.at - px))[0] : null;
    if (near) {
      const more = near.list.length > 3 ? `\n… and ${near.list.length - 3} more: zoom in` : '';
      return say(event, near.list.slice(0, 3).map(said).join('\n\n') + more);
    }
    const short = demand[k] - ready[k];
    say(event, `${time(data.start + k * step)}${k < data.first ? ' (not scored)' : ''}\n` +
      (load[k] === null ? 'no reading\n' : `load ${number(load[k])} ${data.metric}\n`) +
      `${ready[k]} serving, ${paid[k] - ready[k]} booting, ${demand[k]} needed` + (short > 0 ? `\nSHORT BY ${short}` : ''));
  };
  const listen = (svg) => {
    svg.addEventListener('pointermove', hover);
    svg.addEventListener('pointerleave', () => { tip.hidden = true; cross.setAttribute('visibility', 'hidden'); });
    svg.addEventListener('pointerdown', (event) => { drag = step_at(event).px; svg.setPointerCapture(event.pointerId); });
    svg.addEventListener('pointerup', (event) => {
      const from = drag, end = step_at(event); drag = null;
      zoom.setAttribute('visibility', 'hidden');
      if (from === null || Math.abs(end.px - from) < 6) return;
      const at = (px) => view[0] + (px - L) / (width - L - R) * (view[1] - view[0]);
      look(at(Math.min(from, end.px)), at(Math.max(from, end.px)));
    });
    svg.addEventListener('dblclick', () => look(0, n));
  };

  const look = (from, to) => {
    const least = Math.min(n, 20), span = Math.max(least, Math.min(n, Math.round(to - from)));
    const a = Math.max(0, Math.min(n - span, Math.round(from)));
    view = [a, a + span]; tip.hidden = true;
    draw();
  };
  const list = () => {
    const all = shown(), table = document.createElement('table'), body = document.createElement('tbody');
    for (const c of all.slice(0, 200)) {
      const row = document.createElement('tr');
      for (const text of [time(data.start + c[0] * step), `${c[1]} → ${c[2]}`, data.reasons[c[3]]]) {
        const cell = document.createElement('td');
        cell.className = 'text'; cell.textContent = text; row.append(cell);
      }
      body.append(row);
    }
    table.append(body);
    const note = document.createElement('p');
    note.className = 'quiet';
    note.textContent = `${all.length} changes in the chart` + (all.length > 200 ? ', the first 200 are listed: zoom in for others' : '') + data.note;
    document.getElementById('changes').replaceChildren(note, table);
  };

  for (const row of document.querySelectorAll('[data-from]')) {
    row.style.cursor = 'pointer';
    row.addEventListener('click', () => {
      const from = +row.dataset.from, long = +row.dataset.long, around = Math.max(60, long * 3);
      look(from - around, from + long + around);
      box.scrollIntoView({ behavior: 'smooth', block: 'center' });
    });
  }
  document.getElementById('buttons').addEventListener('click', (event) => {
    const move = event.target.dataset.move, span = view[1] - view[0], mid = (view[0] + view[1]) / 2;
    const around = (seconds) => look(mid - seconds / step / 2, mid + seconds / step / 2);
    if (move === 'all') look(0, n);
    if (move === 'week') around(604800);
    if (move === 'day') around(86400);
    if (move === 'hours') around(10800);
    if (move === 'left') look(view[0] - span / 2, view[0] + span / 2);
    if (move === 'right') look(view[0] + span / 2, view[1] + span / 2);
  });
  document.getElementById('buttons').hidden = document.getElementById('hint').hidden = false;
  addEventListener('resize', draw);
  draw();
})();
