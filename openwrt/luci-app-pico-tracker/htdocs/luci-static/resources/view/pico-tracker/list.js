'use strict';
'require view';
'require dom';
'require rpc';
'require ui';
'require pico-tracker.directory as directory';
'require pico-tracker.torrent as torrent';
/* globals directory, torrent */

const callStatus = rpc.declare({
	object: 'luci.pico-tracker',
	method: 'status',
	expect: { sections: [] }
});

const callList = rpc.declare({
	object: 'luci.pico-tracker',
	method: 'list',
	params: [ 'section', 'file', 'offset' ],
	expect: { '': {} }
});

const callEdit = rpc.declare({
	object: 'luci.pico-tracker',
	method: 'edit',
	params: [ 'section', 'file', 'version', 'remove', 'replace', 'add' ],
	expect: { '': {} }
});

const callRemove = rpc.declare({
	object: 'luci.pico-tracker',
	method: 'remove',
	params: [ 'section', 'file', 'version' ],
	expect: { '': {} }
});

const callStore = rpc.declare({
	object: 'luci.pico-tracker',
	method: 'store',
	params: [ 'section', 'file', 'size', 'offset', 'data' ],
	expect: { '': {} }
});

const SHOWN = 200;              // rows at once
const MAX_TORRENT = 32 << 20;   // bytes of a .torrent file
const MAX_STORED = 4 << 20;     // bytes of a .torrent file that is stored on the router
const PART = 36 << 10;          // bytes of such a file in one request, before base64
const MAX_REQUEST = 24 << 10;   // bytes of the lines of one request: uhttpd takes 64 KB

const ERRORS = {
	changed: _('Somebody else changed the file meanwhile. Nothing was saved. Your changes are still here: load the file again, check them and save.'),
	busy: _('Somebody is writing to the file. Try again.'),
	write: _('The file could not be written. Is the flash full?'),
	large: _('The file is larger than 2 MB. Edit it on the router.'),
	invalid: _('The file is not a text file.'),
	line: _('A line is too long.'),
	exists: _('The directory has a file of this name already.'),
	memory: _('The router has too little memory for the file.'),
	torrent: _('The router does not accept the file as a .torrent file.'),
	file: _('The settings name another access list now. Load the page again.'),
	section: _('This section is no longer in the settings. Load the page again.')
};

function errorText(error) {
	return Object.hasOwn(ERRORS, error) ? ERRORS[error] : _('The request failed: %s').format(error);
}

// fileName returns the name of a new .torrent file, which is not taken. Half of a
// character would be lost on the way to the router. 50 characters have at most 200
// bytes, and a file system takes 255 for a name.
function fileName(original, taken) {
	const whole = torrent.cleanName(original.replace(/\.torrent$/i, '').replace(/[/\\]/g, '_')).replace(/^\.+/, '');
	const stem = Array.from(whole).slice(0, 50).join('').trim() || 'torrent';
	for (let i = 1; ; i++) {
		const name = stem + (i > 1 ? ' (%d)'.format(i) : '') + '.torrent';
		if (!taken.has(name))
			return name;
	}
}

// Editor shows the access list of one section: a list file, or a directory with
// .torrent files and list files.
function Editor(section, readonly, wanted) {
	const list = section.list;
	let file = list.files[0];
	let version = '';
	let lines = [];             // { text, entry } in the order of the file
	let changes = {};           // number of a line: null to remove, or its new text
	let added = [];             // { hash, name }
	let stored = [];            // the .torrent files of the directory
	let gone = new Set();       // the names of those to remove
	let uploads = [];           // those to add: { file, bytes, hashes, name }
	let reads = 0;              // how often the directory was read
	let all = false;            // show all rows

	const message = E('div', { 'role': 'status', 'aria-live': 'polite' });
	const table = E('div', {});
	const filter = E('input', {
		'type': 'text', 'class': 'cbi-input-text', 'id': 'filter-' + section.name, 'placeholder': _('Part of a name or hash'),
		'input': () => { all = false; showTable(); }
	});
	const paste = E('textarea', {
		'id': 'paste-' + section.name, 'rows': 4, 'style': 'width:100%', 'spellcheck': 'false',
		'placeholder': '0123456789abcdef0123456789abcdef01234567 # ' + _('Name') + '\nmagnet:?xt=urn:btih:…'
	});
	const picker = E('input', {
		'type': 'file', 'id': 'files-' + section.name, 'accept': '.torrent', 'multiple': '',
		'change': ev => addFiles(ev.target.files).then(() => { ev.target.value = ''; })
	});
	const save = E('button', { 'class': 'btn cbi-button cbi-button-save important', 'type': 'button', 'click': saveChanges }, [ _('Save and apply') ]);
	const reset = E('button', { 'class': 'btn cbi-button cbi-button-reset', 'type': 'button', 'click': () => { forget(); showTable(); tell(''); } }, [ _('Reset') ]);

	function tell(text, problem) {
		dom.content(message, text ? [ E('p', { 'class': 'alert-message ' + (problem ? 'warning' : 'notice') }, [ text ]) ] : []);
	}

	function forget() {
		changes = {};
		added = [];
		gone = new Set();
		uploads = [];
	}

	function changed() {
		return added.length + Object.keys(changes).length + gone.size + uploads.length;
	}

	// known returns the hashes that the list will have.
	function known() {
		const hashes = new Set(added.map(a => torrent.identity(a.hash)));
		lines.forEach((line, i) => {
			if (changes[i] !== null)
				(line.entry.hashes ?? []).forEach(h => hashes.add(torrent.identity(h)));
		});
		for (const f of stored.filter(f => !gone.has(f.file)).concat(uploads))
			(f.hashes ?? []).forEach(h => hashes.add(torrent.identity(h)));
		return hashes;
	}

	// addEntry puts a torrent on the list of additions, unless it is among the
	// hashes that are there.
	function addEntry({ hashes, name }, have) {
		const fresh = hashes.filter(h => !have.has(torrent.identity(h)));
		fresh.forEach(hash => {
			have.add(torrent.identity(hash));
			added.push({ hash, name });
		});
		return fresh.length;
	}

	function addPasted() {
		let count = 0, twice = 0;
		const bad = [], have = known();
		for (const line of paste.value.split('\n')) {
			const entry = torrent.parseLine(line);
			if (entry.bad)
				bad.push(line.trim());
			else if (entry.hashes)
				addEntry(entry, have) ? count++ : twice++;
		}
		paste.value = bad.join('\n');
		report(count, twice, bad.length ? N_(bad.length, '%d line is neither an info hash nor a magnet link. It is still in the box.',
			'%d lines are neither info hashes nor magnet links. They are still in the box.').format(bad.length) : '');
	}

	function addFiles(files) {
		let count = 0, twice = 0;
		const problems = [], have = known();
		return Array.from(files).reduce((before, f) => before.then(() => {
			if (f.size > MAX_TORRENT)
				throw new Error(_('The file is larger than 32 MB.'));
			return f.arrayBuffer();
		}).then(buffer => {
			const bytes = new Uint8Array(buffer);
			const entry = torrent.parseTorrent(bytes);
			// In a directory the file itself is stored, unless it is large.
			if (!list.folder || f.size > MAX_STORED)
				return addEntry(entry, have) ? count++ : twice++;
			if (entry.hashes.every(h => have.has(torrent.identity(h))))
				return twice++;
			entry.hashes.forEach(h => have.add(torrent.identity(h)));
			const taken = new Set(stored.concat(uploads).map(s => s.file));
			uploads.push({ ...entry, bytes, file: fileName(f.name, taken) });
			return count++;
		}).catch(error => {
			problems.push(f.name + ': ' + error.message);
		}), Promise.resolve()).then(() => report(count, twice, problems.join(' ')));
	}

	function report(count, twice, problem) {
		const words = [ N_(count, '%d torrent is ready to be saved.', '%d torrents are ready to be saved.').format(count) ];
		if (twice)
			words.push(N_(twice, '%d torrent is in the list already.', '%d torrents are in the list already.').format(twice));
		if (problem)
			words.push(problem);
		showTable();
		tell(words.join(' '), problem !== '');
	}

	// load reads the list file and the directory.
	function load() {
		return loadFile().then(loadDirectory);
	}

	// loadDirectory reads the .torrent files. It does not wait until all of them
	// were read: a later error is shown.
	function loadDirectory() {
		const turn = ++reads;
		if (!list.folder)
			return Promise.resolve();
		return new Promise((resolve, reject) => {
			directory.read(section.name, files => {
				if (turn !== reads)
					return false;
				stored = files.sort((a, b) => (a.name || a.file).localeCompare(b.name || b.file));
				showTable();
				resolve();
				return true;
			}).then(files => {
				if (turn === reads && files.some(f => !f.hashes))
					throw new Error(errorText('timeout'));
			}).catch(error => {
				reject(error);
				if (turn === reads)
					tell(error.message, true);
			});
		});
	}

	// loadFile reads the list file, part by part.
	function loadFile() {
		let text = '', first = null;
		const part = offset => callList(section.name, file, offset).then(reply => {
			if (reply.error || !reply.list?.editable)
				throw new Error(errorText(reply.error ?? 'file'));
			if (first != null && reply.version !== first)
				throw new Error(errorText('busy'));
			first = reply.version;
			text += reply.text ?? '';
			return reply.next > 0 ? part(reply.next) : null;
		});
		return part(0).then(() => {
			version = first;
			const all = text.split('\n');
			if (all[all.length - 1] === '')
				all.pop();
			lines = all.map(text => ({ text, entry: torrent.parseLine(text) }));
		});
	}

	// reload reads the file again. Additions stay; changes of lines belong to
	// the lines that were there.
	function reload() {
		return load().then(() => {
			changes = {};
			gone = new Set();
			const kept = added;
			added = [];
			const have = known();
			kept.forEach(a => addEntry({ hashes: [ a.hash ], name: a.name }, have));
			const taken = new Set(stored.map(f => f.file));
			uploads.forEach(u => {
				u.file = fileName(u.file, taken);
				taken.add(u.file);
			});
			showTable();
			tell(_('The file was loaded again.'));
		}, error => tell(error.message, true));
	}

	function checkReply(reply, field) {
		if (reply.error || !(field in reply))
			throw new Error(errorText(reply.error ?? reply));
	}

	// store sends a .torrent file to the router, part by part.
	function store({ file, bytes }, offset) {
		const part = bytes.subarray(offset, offset + PART);
		return callStore(section.name, file, bytes.length, offset, btoa(String.fromCharCode(...part))).then(reply => {
			checkReply(reply, 'stored');
			return offset + part.length < bytes.length ? store({ file, bytes }, offset + part.length) : null;
		});
	}

	// saveFiles removes and adds .torrent files, one after the other. What is done
	// is no change any more.
	function saveFiles() {
		reads++; // what is still being read would bring back what was removed
		const steps = stored.filter(f => gone.has(f.file)).map(f => () => callRemove(section.name, f.file, f.version).then(reply => {
			checkReply(reply, 'removed');
			gone.delete(f.file);
			stored = stored.filter(s => s !== f);
		})).concat(uploads.map(u => () => store(u, 0).then(() => {
			uploads = uploads.filter(w => w !== u);
			stored = stored.concat({ file: u.file, version: '', hashes: u.hashes, name: u.name, error: '' });
		})));
		return steps.reduce((before, step, i) => before.then(() => {
			if (steps.length > 1)
				tell(_('File %d of %d…').format(i + 1, steps.length));
			return step();
		}), Promise.resolve());
	}

	// saveChanges sends the changes in requests that are small enough. The
	// version makes sure that nobody else's changes are overwritten.
	function saveChanges() {
		const remove = Object.keys(changes).filter(i => changes[i] === null).map(Number);
		const replace = {};
		for (const i of Object.keys(changes))
			if (changes[i] !== null)
				replace[i] = changes[i];
		const batches = [ [] ];
		let size = JSON.stringify(replace).length;
		for (const { hash, name } of added) {
			const line = torrent.formatLine(hash, name);
			size += new TextEncoder().encode(line).length + 4;
			if (size > MAX_REQUEST) {
				batches.push([]);
				size = 0;
			}
			batches[batches.length - 1].push(line);
		}
		if (!remove.length && !Object.keys(replace).length && !added.length)
			batches.length = 0;
		save.disabled = reset.disabled = true;
		let saved = 0;
		return batches.reduce((before, lines, i) => before.then(() =>
			callEdit(section.name, file, version, i ? [] : remove, i ? {} : replace, lines).then(reply => {
				if (reply.error || typeof reply.version !== 'string')
					throw new Error(errorText(reply.error ?? reply));
				version = reply.version;
				saved += lines.length;
				changes = {};
			})
		), saveFiles()).then(() => {
			added = [];
			return load().then(() => {
				showTable();
				tell(_('Saved. The tracker uses the new list now.'));
			});
		}).catch(error => {
			added = added.slice(saved);
			showTable();
			tell(error.message, true);
			message.append(E('button', { 'class': 'btn cbi-button', 'type': 'button', 'click': reload }, [ _('Load again') ]));
		});
	}

	function rename(i, entry) {
		const change = () => {
			changes[i] = torrent.formatLine(entry.hashes[0], input.value);
			ui.hideModal();
			showTable();
			table.querySelector('[data-key="line %d"] button'.format(i))?.focus();
		};
		const input = E('input', {
			'type': 'text', 'class': 'cbi-input-text', 'value': entry.name, 'aria-label': _('Name'), 'maxlength': 200,
			'keydown': ev => {
				if (ev.key === 'Enter') {
					ev.preventDefault(); // or it would press the button that gets the focus
					change();
				} else if (ev.key === 'Escape')
					ui.hideModal();
			}
		});
		ui.showModal(_('Change the name'), [
			E('p', {}, [ E('code', {}, entry.hashes) ]),
			E('p', {}, [ input ]),
			E('div', { 'class': 'right' }, [
				E('button', { 'class': 'btn', 'type': 'button', 'click': ui.hideModal }, [ _('Cancel') ]), ' ',
				E('button', { 'class': 'btn cbi-button-action important', 'type': 'button', 'click': change }, [ _('Change') ])
			])
		]);
		input.focus();
	}

	function button(text, label, click) {
		return E('button', { 'class': 'btn cbi-button', 'type': 'button', 'aria-label': label, 'click': click }, [ text ]);
	}

	// rows returns the torrents in the file and the added ones. Only rows that
	// are shown get their buttons, because a list may be long.
	function rows() {
		const found = [];
		lines.forEach((line, i) => {
			if (!line.entry.hashes)
				return;
			const removed = changes[i] === null;
			const entry = changes[i] ? torrent.parseLine(changes[i]) : line.entry;
			const title = entry.name || entry.hashes[0];
			const state = removed ? _('will be removed') : changes[i] ? _('will be changed') : '';
			const actions = () => state
				? [ button(_('Undo'), _('Undo the change of %s').format(title), () => { delete changes[i]; showTable(); }) ]
				: [
					entry.hashes.length === 1 ? button(_('Name…'), _('Change the name of %s').format(title), () => rename(i, entry)) : '',
					' ',
					button(_('Remove'), _('Remove %s').format(title), () => { changes[i] = null; showTable(); })
				];
			found.push({ key: 'line ' + i, entry, actions, state, removed });
		});
		for (const f of stored) {
			const removed = gone.has(f.file);
			const title = f.name || f.file;
			// A name that is not UTF-8 does not survive the way to the browser.
			const fixed = f.file.includes('\ufffd');
			const actions = () => fixed ? []
				: removed ? [ button(_('Undo'), _('Undo the change of %s').format(title), () => { gone.delete(f.file); showTable(); }) ]
				: [ button(_('Remove'), _('Remove %s').format(title), () => { gone.add(f.file); showTable(); }) ];
			const note = f.error === 'large' ? _('The file is larger than 8 MB, so this page does not show what is in it.')
				: f.error ? _('The tracker cannot use this file: %s').format(f.error) : '';
			found.push({ key: 'file ' + f.file, entry: { hashes: f.hashes ?? [], name: f.name, file: f.file }, actions, note, state: removed ? _('will be removed') : '', removed });
		}
		uploads.forEach(u => found.push({
			key: 'upload ' + u.file, entry: u, state: _('will be added'),
			actions: () => [ button(_('Remove'), _('Remove %s').format(u.name || u.file), () => { uploads = uploads.filter(w => w !== u); showTable(); }) ]
		}));
		added.forEach((a, i) => found.push({
			key: 'hash ' + a.hash, entry: { hashes: [ a.hash ], name: a.name }, state: _('will be added'),
			actions: () => [ button(_('Remove'), _('Remove %s').format(a.name || a.hash), () => { added.splice(i, 1); showTable(); }) ]
		}));
		return found;
	}

	function showTable() {
		const wanted = filter.value.trim().toLowerCase();
		// What will be added comes first, because it is what the user is looking at.
		const found = rows().filter(r => !wanted || [ r.entry.name, r.entry.file ?? '' ].some(n => n.toLowerCase().includes(wanted)) || r.entry.hashes.some(h => h.includes(wanted)));
		found.sort((a, b) => (b.state !== '') - (a.state !== ''));
		const shown = all ? found : found.slice(0, SHOWN);
		const titles = [ _('Name'), _('Info hash') ].concat(readonly ? [] : [ _('Actions') ]);
		const node = E('table', { 'class': 'table' }, [
			E('tr', { 'class': 'tr table-titles' }, titles.map(t => E('th', { 'class': 'th', 'scope': 'col' }, [ t ])))
		]);
		for (const { key, entry, actions, note, state, removed } of shown) {
			const name = [ E('span', removed ? { 'style': 'text-decoration:line-through' } : {}, [ entry.name || (entry.file ? '' : '–') ]) ];
			if (entry.file)
				name.push(entry.name ? E('br') : '', E('small', { 'style': 'overflow-wrap:anywhere' }, [ entry.file ]));
			for (const text of [ note, state ])
				if (text)
					name.push(E('br'), E('em', {}, [ text ]));
			const cells = [
				E('span', {}, name),
				E('code', { 'style': 'overflow-wrap:anywhere' }, [ entry.hashes.join(' ') || '–' ])
			];
			if (!readonly)
				cells.push(E('span', {}, actions()));
			node.append(E('tr', { 'class': 'tr', 'data-key': key }, cells.map((c, i) =>
				E('td', { 'class': 'td', 'data-title': titles[i], 'style': i ? null : 'flex-basis:100%' }, [ c ]))));
		}
		if (!shown.length)
			node.append(E('tr', { 'class': 'tr placeholder' }, [
				E('td', { 'class': 'td', 'colspan': titles.length }, [ E('em', {}, [ wanted ? _('No torrent matches.') : _('The list is empty.') ]) ])
			]));
		const content = [ node ];
		const unread = stored.filter(f => !f.hashes).length;
		if (unread)
			content.push(E('p', {}, [ E('em', {}, [ _('Reading the .torrent files: %d of %d…').format(stored.length - unread, stored.length) ]) ]));
		if (shown.length < found.length)
			content.push(E('p', {}, [
				_('%d of %d torrents are shown.').format(shown.length, found.length), ' ',
				E('button', { 'class': 'btn cbi-button', 'type': 'button', 'click': () => { all = true; showTable(); } }, [ _('Show all') ])
			]));
		const bad = lines.filter(l => l.entry.bad).length;
		if (bad)
			content.push(E('p', {}, [ E('em', {}, [ N_(bad, '%d line of the file is neither a torrent nor a comment. The tracker skips it, and this page keeps it.',
				'%d lines of the file are neither a torrent nor a comment. The tracker skips them, and this page keeps them.').format(bad) ]) ]));
		// The keyboard stays where it was, although all rows are new.
		const focused = table.contains(document.activeElement) ? document.activeElement.closest('[data-key]')?.dataset.key ?? '' : null;
		dom.content(table, content);
		if (focused !== null)
			(Array.from(table.querySelectorAll('[data-key]')).find(row => row.dataset.key === focused)?.querySelector('button') ?? filter).focus();
		save.disabled = reset.disabled = readonly || !changed();
	}

	// A drop outside of the box would make the browser leave the page.
	const drop = E('div', {
		'class': 'pico-tracker-drop', 'style': 'border:2px dashed currentColor; border-radius:6px; padding:1em; margin:.5em 0; text-align:center',
		'dragover': ev => { ev.preventDefault(); drop.style.opacity = 0.6; },
		'dragleave': () => { drop.style.opacity = 1; },
		'drop': ev => {
			ev.preventDefault();
			drop.style.opacity = 1;
			return addFiles(ev.dataTransfer.files);
		}
	}, [
		E('label', { 'for': picker.id }, [ _('Drop .torrent files here, or choose them:') ]), ' ', picker,
		list.folder ? E('div', {}, [ _('The files are stored in %s.').format(list.directory) ]) : ''
	]);

	const kind = list.kind === 'whitelist'
		? _('Only these torrents are tracked. All others are refused.')
		: _('These torrents are refused. All others are tracked.');
	const node = E('div', { 'class': 'cbi-section', 'data-section': section.name }, [
		E('h3', {}, [ section.name ]),
		E('p', {}, [ kind ])
	]);
	if (list.folder)
		node.append(E('p', {}, [ _('Directory'), ' ', E('code', {}, [ list.directory ]) ]));
	if (list.files.length > 1)
		node.append(E('p', {}, [
			E('label', { 'for': 'file-' + section.name }, [ _('List file') ]), ' ',
			E('select', { 'id': 'file-' + section.name, 'class': 'cbi-input-select', 'change': ev => {
				file = ev.target.value;
				forget();
				return load().then(() => { showTable(); tell(''); }, error => tell(error.message, true));
			} }, list.files.map(f => E('option', { 'value': f }, [ f ])))
		]));
	else if (!list.folder)
		node.append(E('p', {}, [ _('List file'), ' ', E('code', {}, [ list.directory + '/' + file ]) ]));
	if (!readonly)
		dom.append(node, [
			E('p', {}, [
				E('label', { 'for': paste.id }, [ _('Paste info hashes or magnet links, one on each line:') ]),
				paste,
				E('button', { 'class': 'btn cbi-button cbi-button-add', 'type': 'button', 'click': addPasted }, [ _('Add') ]), ' ',
				list.folder && list.files.length === 1 ? E('span', {}, [ _('They go to the list file %s.').format(file) ]) : ''
			]),
			drop
		]);
	dom.append(node, [
		message,
		E('p', {}, [ E('label', { 'for': filter.id }, [ _('Show torrents with') ]), ' ', filter ]),
		table
	]);
	if (!readonly)
		node.append(E('div', { 'class': 'right', 'style': 'margin-top:.7em' }, [ save, ' ', reset ]));

	return load().then(() => {
		if (wanted && !readonly)
			addEntry({ hashes: [ wanted ], name: '' }, known());
		showTable();
	}, error => tell(error.message, true)).then(() => node);
}

// explain says why a section has nothing to edit.
function explain(section) {
	const list = section.list;
	const settings = E('a', { 'href': L.url('admin/services/pico-tracker/settings') }, [ _('Settings') ]);
	const text = !list.kind
		? _('This tracker has no access list: it tracks every torrent. To change that, set a whitelist or a blacklist.')
		: list.missing ? _('%s does not exist. Make this directory on the router, or choose another path in the settings.').format(list.path)
		: _('This page edits directories in /etc/pico-tracker, and files there whose names end in .txt or .list. Edit %s on the router, or choose another path in the settings.').format(list.path);
	return E('div', { 'class': 'cbi-section', 'data-section': section.name }, [
		E('h3', {}, [ section.name ]), E('p', {}, [ text, ' ', settings ])
	]);
}

return view.extend({
	load() {
		return callStatus();
	},

	render(sections) {
		const readonly = !L.hasViewPermission();
		// The status page links to a torrent that was refused: #section/hash.
		const wanted = location.hash.match(/^#([^/]+)\/([0-9a-f]{40})$/);
		const wantedBy = s => wanted && decodeURIComponent(wanted[1]) === s.name ? wanted[2] : '';
		return Promise.all(sections.map(s => s.list.editable ? Editor(s, readonly, wantedBy(s)) : explain(s))).then(nodes =>
			E('div', { 'class': 'cbi-map' }, [
				E('h2', {}, [ _('Access list') ]),
				E('div', { 'class': 'cbi-map-descr' }, [ _('Which torrents the tracker serves. Names are comments for you: the tracker uses the info hashes only.') ])
			].concat(nodes.length ? nodes : [ E('p', {}, [ E('em', {}, [ _('There is no tracker in the settings.') ]) ]) ])));
	},

	handleSave: null,
	handleSaveApply: null,
	handleReset: null
});
