'use strict';
'require view';
'require dom';
'require poll';
'require rpc';
'require pico-tracker.directory as directory';
'require pico-tracker.metrics as metrics';
'require pico-tracker.options as options';
'require pico-tracker.torrent as torrent';
/* globals directory, metrics, options, torrent */

const callStatus = rpc.declare({
	object: 'luci.pico-tracker',
	method: 'status',
	expect: { '': {} }
});

const callLog = rpc.declare({
	object: 'luci.pico-tracker',
	method: 'log',
	params: [ 'lines' ],
	expect: { lines: [] }
});

const callProbe = rpc.declare({
	object: 'luci.pico-tracker',
	method: 'probe',
	params: [ 'section' ],
	expect: { '': {} }
});

const callList = rpc.declare({
	object: 'luci.pico-tracker',
	method: 'list',
	params: [ 'section', 'file', 'offset' ],
	expect: { '': {} }
});

const LOG_LINES = 200;
const DEFAULT_INTERVAL = 15; // seconds, as the tracker's
const HISTORY_SAMPLES = 120;
const HISTORY_SECONDS = 300; // that the curve shows, or at least HISTORY_LEAST samples
const HISTORY_LEAST = 20;
const NAMES_EVERY = 20; // updates between two looks at the access list
const NAMES_FILES = 1000; // .torrent files that one look reads

// What the curve shows, with a color and a line style each: a color alone is
// not enough for everybody.
const KINDS = [
	{ key: 'connects', title: _('Connects'), color: '#1f77b4', dash: '' },
	{ key: 'announces', title: _('Announces'), color: '#2ca02c', dash: '' },
	{ key: 'scrapes', title: _('Scrapes'), color: '#b8860b', dash: '6 3' },
	{ key: 'errors', title: _('Errors'), color: '#d62728', dash: '2 2' },
	{ key: 'drops', title: _('Dropped packets'), color: '#8c6bb1', dash: '8 3 2 3' }
];

const FAMILIES = { ipv4: 'IPv4', ipv6: 'IPv6' };

const REASONS = {
	connection_id: _('The connection ID is wrong or expired.'),
	malformed: _('The request is malformed.'),
	access_list: _('The access list refuses the torrent.'),
	connect_limit: _('Too many connects from one address.'),
	short: _('The packet is too short.'),
	like_reply: _('The packet looks like a reply.'),
	action: _('The action is unknown.'),
	magic: _('The protocol ID is wrong.'),
	source: _('The source address is not valid.'),
	network_connects: _('Too many connects from one network.'),
	network_errors: _('Too many errors for one network.'),
	repeated: _('The client repeated a request after errors.'),
	buffer: _('The receive buffer was full.'),
	filter: _('The kernel found no valid request in the packet.'),
	unknown: _('The kernel dropped the packet.')
};

function number(n) {
	return n.toLocaleString(document.documentElement.lang || undefined, { maximumFractionDigits: 0 });
}

function rate(n) {
	return n.toLocaleString(document.documentElement.lang || undefined, { maximumFractionDigits: n < 1 ? 2 : n < 10 ? 1 : 0 });
}

function bytes(n) {
	for (const [ unit, size ] of [ [ 'GiB', 2 ** 30 ], [ 'MiB', 2 ** 20 ], [ 'KiB', 2 ** 10 ] ])
		if (n >= size)
			return '%.1f %s'.format(n / size, unit);
	return '%d B'.format(n);
}

// duration returns a time in its two largest units.
function duration(seconds) {
	const units = [ [ 86400, 'd' ], [ 3600, 'h' ], [ 60, 'm' ], [ 1, 's' ] ];
	const first = units.findIndex(([ size ]) => seconds >= size);
	if (first < 0)
		return '0s';
	return units.slice(first, first + 2)
		.map(([ size, name ], i) => [ Math.floor((i ? seconds % units[first][0] : seconds) / size), name ])
		.filter(([ n ]) => n > 0)
		.map(([ n, name ]) => n + name).join(' ');
}

// svg makes an element of a picture. E makes elements of HTML only.
function svg(name, attributes, children) {
	const node = document.createElementNS('http://www.w3.org/2000/svg', name);
	for (const [ key, value ] of Object.entries(attributes))
		node.setAttribute(key, value);
	for (const child of children || [])
		node.append(child);
	return node;
}

// table makes a table with a head row. On a phone LuCI shows the cells side by
// side, with their data-title; the first one gets a line of its own.
function table(titles, rows, placeholder) {
	const node = E('table', { 'class': 'table' }, [
		E('tr', { 'class': 'tr table-titles' }, titles.map(t => E('th', { 'class': 'th', 'scope': 'col' }, [ t ])))
	]);
	for (const row of rows)
		node.append(E('tr', { 'class': 'tr' }, row.map((cell, i) =>
			E('td', { 'class': 'td', 'data-title': titles[i], 'style': i ? null : 'flex-basis:100%' }, [ cell ]))));
	if (!rows.length)
		node.append(E('tr', { 'class': 'tr placeholder' }, [
			E('td', { 'class': 'td', 'colspan': titles.length }, [ E('em', {}, [ placeholder ]) ])
		]));
	return node;
}

// facts makes a table with a name and a value in each row.
function facts(rows) {
	return E('table', { 'class': 'table' }, rows.map(([ title, value ]) =>
		E('tr', { 'class': 'tr' }, [
			E('th', { 'class': 'td left', 'scope': 'row', 'style': 'width:33%; font-weight:normal' }, [ title ]),
			E('td', { 'class': 'td left' }, Array.isArray(value) ? value : [ value ])
		])));
}

function bar(part, whole, text) {
	const percent = whole > 0 ? Math.min(100, Math.round(100 * part / whole)) : 0;
	return E('div', {
		'class': 'cbi-progressbar', 'title': text, 'role': 'meter', 'aria-label': text,
		'aria-valuemin': 0, 'aria-valuemax': 100, 'aria-valuenow': percent
	}, [ E('div', { 'style': 'width:%d%%'.format(percent) }) ]);
}

// totals returns the counters that the curve is made of.
function totals(report) {
	return {
		connects: report.sum('connects_total'),
		announces: report.sum('announces_total'),
		scrapes: report.sum('scrapes_total'),
		errors: report.sum('errors_total'),
		drops: report.sum('drops_total') + report.sum('kernel_drops_total')
	};
}

// History keeps the counters of one section as they grow. It survives a change
// of the page, but not a restart of the tracker.
const History = {
	load(section) {
		try {
			const saved = JSON.parse(sessionStorage.getItem('pico-tracker.' + section));
			return Array.isArray(saved) ? saved : [];
		} catch {
			return [];
		}
	},

	add(section, report) {
		let samples = this.load(section);
		const at = report.sum('uptime_seconds');
		const last = samples[samples.length - 1];
		if (last && at < last.at)
			samples = [];
		if (!last || at !== last.at)
			samples.push({ at, ...totals(report) });
		samples = samples.slice(-HISTORY_SAMPLES);
		try {
			sessionStorage.setItem('pico-tracker.' + section, JSON.stringify(samples));
		} catch {
			// A browser without storage shows no curve.
		}
		return samples;
	},

	// rates returns the requests a second between each two samples.
	rates(samples) {
		const rates = [];
		for (let i = 1; i < samples.length; i++) {
			const seconds = samples[i].at - samples[i - 1].at;
			const point = { at: samples[i].at };
			for (const { key } of KINDS)
				point[key] = Math.max(0, samples[i][key] - samples[i - 1][key]) / seconds;
			rates.push(point);
		}
		return rates;
	}
};

// roundUp returns a round number of at least n.
function roundUp(n) {
	const power = 10 ** Math.floor(Math.log10(n));
	return [ 1, 2, 4, 8, 10 ].map(f => f * power).find(r => r >= n);
}

// curve draws the requests a second of the last minutes.
function curve(rates, every, width) {
	const height = 180, left = 44, bottom = 22, top = 8;
	const span = Math.max(HISTORY_SECONDS, HISTORY_LEAST * every);
	const end = rates.length ? rates[rates.length - 1].at : 0;
	const shown = rates.filter(r => r.at >= end - span);
	const most = roundUp(Math.max(1, ...shown.flatMap(r => KINDS.map(k => r[k.key]))));
	const x = at => left + (width - left - 4) * (1 - (end - at) / span);
	const y = n => top + (height - top - bottom) * (1 - n / most);

	const picture = svg('svg', {
		'viewBox': '0 0 %d %d'.format(width, height), 'width': '100%', 'height': height, 'role': 'img',
		'aria-label': _('Requests per second in the last %s; the table below has the numbers.').format(duration(span)),
		'style': 'display:block; color:inherit', 'font-size': '11'
	});
	for (let i = 0; i <= 4; i++) {
		const n = most * i / 4;
		picture.append(
			svg('line', { x1: left, x2: width - 4, y1: y(n), y2: y(n), 'stroke': 'currentColor', 'stroke-opacity': i ? 0.15 : 0.5 }),
			svg('text', { x: left - 6, y: y(n) + 4, 'text-anchor': 'end', 'fill': 'currentColor' }, [ rate(n) ]));
	}
	const marks = width < 500 ? 2 : 5;
	for (let i = 0; i <= marks; i++) {
		const ago = span * (marks - i) / marks;
		picture.append(svg('text', {
			x: x(end - ago), y: height - 6, 'fill': 'currentColor',
			'text-anchor': i === 0 ? 'start' : i === marks ? 'end' : 'middle'
		}, [ i === marks ? _('now') : '−' + duration(ago) ]));
	}
	for (const { key, title, color, dash } of KINDS) {
		const line = svg('polyline', {
			'data-kind': key, 'fill': 'none', 'stroke': color, 'stroke-width': 2, 'stroke-dasharray': dash, 'stroke-linejoin': 'round',
			'points': shown.map(r => '%.1f,%.1f'.format(x(r.at), y(r[key]))).join(' ')
		}, [ svg('title', {}, [ title ]) ]);
		picture.append(line);
	}
	return picture;
}

function rateTable(rates, sums) {
	return table([ _('Kind'), _('Now, per second'), _('Average'), _('Peak'), _('Since the start') ], KINDS.map(({ key, title, color, dash }) => {
		const values = rates.map(r => r[key]);
		return [
			E('span', {}, [
				svg('svg', { 'width': 28, 'height': 10, 'aria-hidden': 'true', 'style': 'margin-right:.5em' }, [
					svg('line', { x1: 0, x2: 28, y1: 5, y2: 5, 'stroke': color, 'stroke-width': 3, 'stroke-dasharray': dash })
				]),
				title
			]),
			values.length ? rate(values[values.length - 1]) : '–',
			values.length ? rate(values.reduce((a, b) => a + b, 0) / values.length) : '–',
			values.length ? rate(Math.max(...values)) : '–',
			E('span', { 'data-total': key }, [ number(sums[key]) ])
		];
	}));
}

// copyText copies a text. A page that came over plain HTTP has no clipboard, so
// the text of the element is selected and copied as in former times.
function copyText(node) {
	const selection = window.getSelection();
	const range = document.createRange();
	range.selectNodeContents(node);
	selection.removeAllRanges();
	selection.addRange(range);
	if (navigator.clipboard)
		return navigator.clipboard.writeText(node.textContent);
	return document.execCommand('copy') ? Promise.resolve() : Promise.reject(new Error());
}

// announceURLs returns the addresses for torrents, and whom each is for.
function announceURLs(section, wan, names) {
	const urls = [];
	const add = (host, port, title) => {
		const url = 'udp://%s:%d/announce'.format(host.includes(':') ? '[' + host + ']' : host, port);
		if (!urls.some(u => u.url === url))
			urls.push({ url, title });
	};
	// A name stays when the address changes. Behind a port mapping only the
	// addresses have the right port.
	if (!section.mapped)
		names.forEach(name => add(name, section.port, _('Address for the internet')));
	const fixed = section.external.filter(e => e !== 'auto');
	for (const value of fixed) {
		const found = value.match(/^\[?([0-9A-Fa-f:.]+?)\]?(?::([0-9]{1,5}))?$/);
		const plain = value.includes('[') || value.split(':').length === 2 ? found : [ value, value ];
		if (plain)
			add(plain[1], plain[2] ?? section.port, _('Address for the internet'));
	}
	if (!fixed.length)
		wan.forEach(address => add(address, section.port,
			options.isPublic(address) ? _('Address for the internet') : _('Address for the network of the WAN port')));
	const host = location.hostname.replace(/^\[|\]$/g, '');
	if (host)
		add(host, section.port, _('Address for this network'));
	return urls;
}

function settingsLink() {
	return E('a', { 'href': L.url('admin/services/pico-tracker/settings') }, [ _('Settings') ]);
}

function stateOf(section) {
	if (section.running)
		return { text: _('Running'), problem: false };
	if (section.refused)
		return { text: _('Not started, because the settings have a mistake'), problem: true, settings: true };
	if (!section.enabled)
		return { text: _('Switched off in the settings'), problem: false, settings: true };
	if (section.exit_code > 0)
		return { text: _('Stopped with exit code %d; the log below says why').format(section.exit_code), problem: true };
	return { text: _('Not running; the log below may say why'), problem: true };
}

function statsProblem(section, every) {
	switch (section.stats_error) {
	case '':
		return section.stats_age > 3 * every + 5 ? _('The statistics are %s old.').format(duration(section.stats_age)) : '';
	case 'off':
		return _('Statistics are switched off in the settings.');
	case 'missing':
		return _('There are no statistics yet. The tracker writes the first ones shortly after its start.');
	default:
		return _('%s is not a statistics file of the tracker.').format(section.stats_file);
	}
}

// Panel shows one section.
function Panel(name) {
	const parts = {
		state: E('p', { 'role': 'status' }),
		addresses: E('div', {}),
		figures: E('div', {})
	};
	let shownURLs = '';
	let shown = null;   // what the figures were made of
	let names = {};
	let naming = false; // names are being read
	let updates = 0;

	const node = E('div', { 'class': 'cbi-section', 'data-section': name }, [
		E('h3', {}, [ name ]), parts.state, parts.addresses, parts.figures
	]);

	// The buttons stay, so that they keep the focus of the keyboard while the
	// numbers change.
	function showAddresses(section, urls) {
		const key = JSON.stringify([ urls, section.restricted ]);
		if (key === shownURLs)
			return;
		shownURLs = key;
		if (!urls.length) {
			dom.content(parts.addresses, []);
			return;
		}
		const told = E('span', { 'role': 'status' });
		const rows = urls.map(({ url, title }) => {
			const text = E('code', { 'class': 'announce-url', 'style': 'overflow-wrap:anywhere; margin-right:1em' }, [ url ]);
			return [ title, [ text, E('button', {
				'class': 'btn cbi-button', 'type': 'button', 'aria-label': _('Copy %s').format(url),
				'click': () => copyText(text).then(
					() => dom.content(told, [ _('Copied.') ]),
					() => dom.content(told, [ _('The browser did not copy it. The address is selected: press Ctrl+C.') ]))
			}, [ _('Copy') ]) ] ];
		});
		const test = E('button', {
			'class': 'btn cbi-button', 'type': 'button',
			'click': ev => {
				const button = ev.currentTarget;
				button.disabled = true;
				dom.content(told, [ _('Asking the tracker…') ]);
				return callProbe(name).then(reply => {
					dom.content(told, [ probeText(reply, section) ]);
				}, error => {
					dom.content(told, [ error.message ]);
				}).finally(() => { button.disabled = false; });
			}
		}, [ _('Test') ]);
		rows.push([ _('Connection test'), [ test, ' ', told ] ]);
		dom.content(parts.addresses, facts(rows));
	}

	function probeText(reply, section) {
		if (reply.error === 'stopped')
			return _('The tracker is not running.');
		if (typeof reply.output !== 'string')
			return _('The test did not run.');
		const hint = reply.code !== 0 && section.restricted
			? ' ' + _('This tracker serves some networks only. To test it from here, add the network loopback.') : '';
		return (reply.output || _('No answer.')) + hint;
	}

	// loadNames reads names from the list files, and then from the .torrent files
	// until all wanted hashes have a name. show gets the names.
	function loadNames(section, wanted, show) {
		const list = section.list || {};
		if (!list.editable)
			return Promise.resolve();
		const found = {};
		const fromDirectory = files => {
			for (const f of files)
				for (const hash of f.hashes ?? [])
					if (f.name)
						found[torrent.identity(hash)] ??= f.name;
			names = found;
			show();
			return !document.hidden && !wanted.every(hash => Object.hasOwn(found, hash));
		};
		const part = (file, offset) => callList(name, file, offset).then(reply => {
			for (const line of String(reply.text ?? '').split('\n')) {
				const entry = torrent.parseLine(line);
				for (const hash of entry.hashes ?? [])
					if (entry.name)
						found[torrent.identity(hash)] = entry.name;
			}
			return reply.next > 0 ? part(file, reply.next) : null;
		});
		return list.files.reduce((before, file) => before.then(() => part(file, 0)), Promise.resolve())
			.then(() => list.torrents ? directory.read(name, fromDirectory, NAMES_FILES) : null)
			.then(() => { names = found; show(); });
	}

	function torrentCell(hash) {
		const text = [ E('code', { 'style': 'overflow-wrap:anywhere' }, [ hash ]) ];
		if (Object.hasOwn(names, hash))
			text.unshift(names[hash], E('br'));
		return E('span', {}, text);
	}

	function showFigures(section, report, samples) {
		const rates = History.rates(samples);
		const every = report.sum('stats_interval_seconds') || DEFAULT_INTERVAL;
		const limit = report.sum('memory_limit_bytes');
		const used = report.sum('resident_memory_bytes');
		const poolUsed = report.sum('pool_bytes', { state: 'used' });
		const pool = report.sum('pool_bytes');
		const full = report.sum('full') > 0;
		const rows = [
			[ _('Version'), report.label('build_info', 'version') ],
			[ _('Uptime'), duration(report.sum('uptime_seconds')) ],
			[ _('Torrents'), E('span', { 'data-figure': 'torrents' }, [ number(report.sum('torrents')) ]) ]
		];
		if (report.has('list_hashes'))
			rows.push([ _('Torrents in the access list'), E('span', { 'data-figure': 'list_hashes' }, [ number(report.sum('list_hashes')) ]) ]);
		if (report.has('resident_memory_bytes')) {
			const text = _('%s of %s').format(bytes(used), bytes(limit));
			rows.push([ _('Memory of the tracker'), [ bar(used, limit, text) ] ]);
		}
		rows.push([ _('Room for torrents and peers'), [ bar(poolUsed, pool, _('%s of %s').format(bytes(poolUsed), bytes(pool))) ] ]);
		rows.push([ _('Memory full'), E('span', { 'data-figure': 'full' }, [ full
			? _('Yes: new peers are not stored. Raise the memory limit in the settings.') : _('No') ]) ]);

		const peers = Object.entries(FAMILIES).filter(([ family ]) => report.has('peers', { family })).map(([ family, title ]) =>
			[ title ].concat([ 'seeder', 'leecher' ].map(role => E('span', { 'data-figure': role + '.' + family }, [ number(report.sum('peers', { family, role })) ]))));
		const width = Math.max(280, Math.min(1200, parts.figures.clientWidth || 600));
		const content = [
			facts(rows),
			E('h4', {}, [ _('Peers') ]),
			table([ _('Family'), _('Seeders'), _('Leechers') ], peers, _('The tracker listens on no address yet.')),
			E('h4', {}, [ _('Requests per second') ]),
			rates.length ? curve(rates, every, width)
				: E('p', {}, [ E('em', {}, [ _('The curve begins with the next statistics, in at most %s.').format(duration(every)) ]) ]),
			rateTable(rates, totals(report))
		];

		const problems = [];
		for (const [ metric, title ] of [ [ 'errors_total', _('Error reply') ], [ 'drops_total', _('Dropped') ], [ 'kernel_drops_total', _('Dropped by the kernel') ] ])
			for (const [ reason, n ] of Object.entries(report.by(metric, 'reason')))
				if (n > 0)
					problems.push([ title, REASONS[reason] ?? reason, number(n) ]);
		const failed = report.sum('send_failures_total');
		if (failed > 0)
			problems.push([ _('Not sent'), _('The kernel did not send the reply.'), number(failed) ]);
		if (problems.length)
			content.push(E('h4', {}, [ _('Errors and dropped packets') ]), table([ _('Result'), _('Reason'), _('Since the start') ], problems));

		const top = report.topTorrents();
		if (top.length)
			content.push(E('h4', {}, [ _('Busiest torrents') ]), E('div', { 'data-table': 'top' }, [
				table([ _('Torrent'), _('Seeders'), _('Leechers'), 'IPv4', 'IPv6', _('Downloads') ], top.map(t => [
					torrentCell(t.hash), number(t.seeders), number(t.leechers), number(t.families.ipv4), number(t.families.ipv6),
					t.downloads == null ? '–' : number(t.downloads)
				]))
			]));

		const refused = report.refusedTorrents();
		if (refused.length)
			content.push(E('h4', {}, [ _('Torrents that the access list refused') ]), E('div', { 'data-table': 'refused' }, [
				table([ _('Torrent'), _('Time'), _('Action') ], refused.map(t => [
					torrentCell(t.hash), _('%s ago').format(duration(t.age)),
					section.list?.kind === 'whitelist' && section.list.editable
						? E('a', { 'href': L.url('admin/services/pico-tracker/list') + '#' + encodeURIComponent(name) + '/' + t.hash }, [ _('Allow…') ]) : '–'
				]))
			]));
		dom.content(parts.figures, content);
	}

	return {
		node,

		update(section, wan, hosts) {
			const state = stateOf(section);
			const report = metrics.parse(section.stats);
			const every = report.sum('stats_interval_seconds') || DEFAULT_INTERVAL;
			const content = [ E(state.problem ? 'strong' : 'span', { 'data-figure': 'state' }, [ state.text ]) ];
			if (state.settings)
				content.push(' ', settingsLink());
			if (!section.running && section.refused)
				content.push(E('pre', { 'style': 'white-space:pre-wrap' }, [ section.refused ]));
			const problem = section.running ? statsProblem(section, every) : '';
			if (problem)
				content.push(E('br'), E('em', {}, [ problem ]));
			dom.content(parts.state, content);
			showAddresses(section, section.running ? announceURLs(section, wan, hosts) : []);
			shown = null;
			if (!section.running || section.stats_error) {
				dom.content(parts.figures, []);
				return Promise.resolve(DEFAULT_INTERVAL);
			}
			const samples = History.add(name, report);
			const wanted = report.topTorrents().concat(report.refusedTorrents()).map(t => t.hash);
			shown = { section, report, samples };
			showFigures(section, report, samples);
			// The figures do not wait for names. The names may come after the next
			// figures.
			if (wanted.length && !naming && updates++ % NAMES_EVERY === 0) {
				naming = true;
				loadNames(section, wanted, () => { if (shown) showFigures(shown.section, shown.report, shown.samples); })
					.catch(() => {}).finally(() => { naming = false; });
			}
			return Promise.resolve(every);
		}
	};
}

// LogPanel shows the last lines of the log.
function LogPanel() {
	let lines = [];
	let shownTags = '';
	const output = E('pre', {
		'class': 'pico-tracker-log', 'tabindex': '0', 'role': 'log', 'aria-live': 'off', 'aria-label': _('Log lines'),
		'style': 'max-height:24em; overflow:auto; white-space:pre-wrap; overflow-wrap:anywhere'
	});
	const filter = E('input', {
		'type': 'text', 'id': 'pico-tracker-filter', 'class': 'cbi-input-text', 'placeholder': _('Part of a line'), 'input': show
	});
	const section = E('select', { 'id': 'pico-tracker-section', 'class': 'cbi-input-select', 'change': show });
	const chooseSection = E('span', {}, [ E('label', { 'for': 'pico-tracker-section' }, [ _('Tracker') ]), ' ', section, ' ' ]);
	const level = E('select', { 'id': 'pico-tracker-level', 'class': 'cbi-input-select', 'change': show }, [
		E('option', { 'value': '' }, [ _('All lines') ]),
		E('option', { 'value': 'warn' }, [ _('Warnings and errors') ])
	]);

	function show() {
		const wanted = filter.value.toLowerCase();
		const bad = / daemon\.(warn|err|crit|alert|emerg) |\[(WARN|ERROR)\]/;
		const tag = ` ${section.value}`;
		const shown = lines.filter(l => l.toLowerCase().includes(wanted) && (level.value === '' || bad.test(l)) &&
			(section.value === '' || l.includes(tag + '[') || l.includes(tag + ': ')));
		const atEnd = output.scrollTop + output.clientHeight >= output.scrollHeight - 4;
		output.textContent = shown.length ? shown.join('\n') : lines.length ? _('No such lines.') : _('The tracker has logged nothing yet.');
		if (atEnd)
			output.scrollTop = output.scrollHeight;
	}

	return {
		node: E('div', { 'class': 'cbi-section' }, [
			E('h3', {}, [ _('Log') ]),
			E('p', {}, [
				chooseSection,
				E('label', { 'for': 'pico-tracker-filter' }, [ _('Show lines with') ]), ' ', filter, ' ',
				E('label', { 'for': 'pico-tracker-level' }, [ _('Level') ]), ' ', level
			]),
			output
		]),

		// update shows the lines of sections, which the user can choose
		// from if there are several.
		update(next, sections) {
			lines = next;
			const chosen = section.value;
			const tags = [ [ '', _('All trackers') ], ...sections.map(s => [ s.tag, s.name ]) ];
			if (JSON.stringify(tags) === shownTags) // it may be open
				return show();
			shownTags = JSON.stringify(tags);
			dom.content(section, tags.map(([ tag, name ]) => E('option', { 'value': tag }, [ name ])));
			section.value = tags.some(([ tag ]) => tag === chosen) ? chosen : '';
			chooseSection.style.display = sections.length > 1 ? '' : 'none';
			show();
		}
	};
}

return view.extend({
	load() {
		return Promise.all([ callStatus(), callLog(LOG_LINES) ]);
	},

	render([ status, lines ]) {
		const panels = {};
		const log = LogPanel();
		const list = E('div', {});
		let interval = 0;

		const show = status => {
			const sections = status.sections ?? [];
			const wan = status.wan ?? [];
			for (const name of Object.keys(panels))
				if (!sections.some(s => s.name === name)) {
					panels[name].node.remove();
					delete panels[name];
				}
			if (!sections.length)
				dom.content(list, [ E('p', {}, [ E('em', {}, [ _('There is no tracker in the settings.') ]), ' ', settingsLink() ]) ]);
			else if (!Object.keys(panels).length)
				dom.content(list, []);
			return Promise.all(sections.map(section => {
				if (!panels[section.name]) {
					panels[section.name] = Panel(section.name);
					list.append(panels[section.name].node);
				}
				return panels[section.name].update(section, wan, status.names ?? []);
			})).then(intervals => pollEvery(Math.max(1, Math.min(DEFAULT_INTERVAL, ...intervals))));
		};

		// Nothing is asked while nobody looks.
		const update = () => document.hidden ? Promise.resolve()
			: Promise.all([ callStatus(), callLog(LOG_LINES) ]).then(([ status, lines ]) => {
				log.update(lines, status.sections ?? []);
				return show(status);
			});

		// The pages change as often as the statistics, and not more often.
		const pollEvery = seconds => {
			if (seconds === interval)
				return;
			interval = seconds;
			poll.remove(update);
			poll.add(update, seconds);
		};

		document.addEventListener('visibilitychange', update);
		log.update(lines, status.sections ?? []);
		return show(status).then(() => E('div', { 'class': 'cbi-map' }, [
			E('h2', {}, [ _('Pico Tracker') ]),
			E('div', { 'class': 'cbi-map-descr' }, [ _('The BitTorrent tracker on this router. The numbers change as often as the tracker writes its statistics.') ]),
			list,
			log.node
		]));
	},

	handleSave: null,
	handleSaveApply: null,
	handleReset: null
});
