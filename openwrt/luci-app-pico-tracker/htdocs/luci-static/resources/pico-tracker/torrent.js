// Reads and writes lines of an access list, and reads .torrent files.
//
// Everything here comes from outside. Names are data: they become text of the
// page and comments in the list, so line breaks and control characters are
// removed.

'use strict';
'require baseclass';
'require pico-tracker.sha as sha';
/* globals sha */

const MAX_DEPTH = 64;
const MAX_NAME = 200;

// cleanName makes one line of a name. Characters that change the direction of
// the text are removed too, because they can make a name look like another.
function cleanName(name) {
	const text = String(name ?? '')
		.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g, ' ')
		.replace(/[\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ufffd]/g, '')
		.trim();
	return Array.from(text).slice(0, MAX_NAME).join('').trim();
}

// fromBase32 converts the 32 characters of an old magnet link to 40 hex digits.
function fromBase32(text) {
	const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
	let bits = '';
	for (const c of text.toUpperCase())
		bits += alphabet.indexOf(c).toString(2).padStart(5, '0');
	return bits.match(/.{4}/g).map(b => parseInt(b, 2).toString(16)).join('');
}

function decode(text) {
	try {
		return decodeURIComponent(text.replace(/\+/g, ' '));
	} catch {
		return text;
	}
}

// parseMagnet returns the info hashes and the name of a magnet link.
function parseMagnet(link) {
	const hashes = [];
	let name = '';
	for (const part of link.slice(link.indexOf('?') + 1).split('&')) {
		const [ key, raw ] = [ part.slice(0, part.indexOf('=')), decode(part.slice(part.indexOf('=') + 1)) ];
		let found;
		if (/^xt(\.[0-9]+)?$/.test(key)) {
			if ((found = raw.match(/^urn:btih:([0-9A-Fa-f]{40})$/)))
				hashes.push(found[1].toLowerCase());
			else if ((found = raw.match(/^urn:btih:([A-Za-z2-7]{32})$/)))
				hashes.push(fromBase32(found[1]));
			else if ((found = raw.match(/^urn:btmh:1220([0-9A-Fa-f]{64})$/)))
				hashes.push(found[1].toLowerCase());
		} else if (key === 'dn') {
			name = cleanName(raw);
		}
	}
	return { hashes, name };
}

// parseLine reads a line of an access list, or one that a user pastes:
// { hashes, name }, or { comment: true }, or { bad: true }.
function parseLine(line) {
	const text = line.replace(/^\ufeff/, '').trim();
	if (text === '' || text.startsWith('#'))
		return { comment: true };
	if (/^magnet:\?/i.test(text)) {
		const magnet = parseMagnet(text);
		return magnet.hashes.length ? magnet : { bad: true };
	}
	const found = text.match(/^([0-9A-Fa-f]{64}|[0-9A-Fa-f]{40})(?:([^0-9A-Za-z].*))?$/);
	if (!found)
		return { bad: true };
	return { hashes: [ found[1].toLowerCase() ], name: cleanName((found[2] ?? '').replace(/^[\s#,;:|-]+/, '')) };
}

// parseDescription reads a line that pico-tracker -hash prints: an info hash, the
// name, and behind it the size, the files and the trackers. A name that could
// mislead a terminal is quoted as in Go.
function parseDescription(line) {
	const found = String(line).match(/^([0-9a-f]{64}|[0-9a-f]{40}) # (.*)$/);
	if (!found)
		return null;
	const quoted = found[2].match(/^"((?:[^"\\]|\\.)*)"/);
	const name = quoted
		? quoted[1].replace(/\\(x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|.)/g, (all, c) => c === '"' || c === '\\' ? c : ' ')
		: found[2].replace(/, [0-9]+[kMGTP]?B, [0-9]+ files?(, private)?(, .*)?$/, '');
	return { hash: found[1], name: name === 'no name' ? '' : cleanName(name) };
}

// formatLine returns the line of an info hash for the list.
function formatLine(hash, name) {
	const clean = cleanName(name);
	return clean ? hash + ' # ' + clean : hash;
}

// identity is what the tracker knows a torrent by: of a BitTorrent v2 hash the
// first 40 digits.
function identity(hash) {
	return hash.slice(0, 40);
}

// Bencode reads the values of a .torrent file in place.
const Bencode = baseclass.extend({
	__init__(bytes) {
		this.bytes = bytes;
		this.at = 0;
	},

	fail() {
		throw new Error(_('This is not a .torrent file.'));
	},

	number(end) {
		let text = '';
		for (; this.bytes[this.at] !== end; this.at++) {
			if (text.length > 15 || this.at >= this.bytes.length)
				this.fail();
			text += String.fromCharCode(this.bytes[this.at]);
		}
		this.at++;
		if (!/^-?[0-9]+$/.test(text))
			this.fail();
		return Number(text);
	},

	string() {
		const length = this.number(58 /* : */);
		if (length < 0 || this.at + length > this.bytes.length)
			this.fail();
		return this.bytes.subarray(this.at, this.at += length);
	},

	// value reads a value: numbers and strings are returned, of a list or a
	// dictionary only its type.
	value(depth) {
		const type = this.bytes[this.at];
		if (depth > MAX_DEPTH || type == null)
			this.fail();
		if (type === 105 /* i */) {
			this.at++;
			return this.number(101 /* e */);
		}
		if (type === 108 /* l */) {
			this.at++;
			while (this.bytes[this.at] !== 101)
				this.value(depth + 1);
			this.at++;
			return 'list';
		}
		if (type === 100 /* d */) {
			this.dictionary(depth, () => {});
			return 'dictionary';
		}
		return this.string();
	},

	// dictionary calls visit with each key, its value, and where that is.
	dictionary(depth, visit) {
		if (this.bytes[this.at] !== 100)
			this.fail();
		this.at++;
		while (this.bytes[this.at] !== 101) {
			const key = String.fromCharCode(...this.string().subarray(0, 100));
			const start = this.at;
			visit(key, this.value(depth + 1), start, this.at);
		}
		this.at++;
	}
});

// parseTorrent returns the info hashes and the name of a .torrent file. A
// hybrid torrent has two hashes.
function parseTorrent(bytes) {
	const file = new Bencode(bytes);
	let info = null;
	file.dictionary(0, (key, value, start, end) => {
		if (key === 'info' && value === 'dictionary')
			info = bytes.subarray(start, end);
	});
	if (!info)
		file.fail();
	const fields = {};
	new Bencode(info).dictionary(0, (key, value) => { fields[key] = value; });
	const hashes = [];
	if (fields.pieces instanceof Uint8Array)
		hashes.push(sha.sha1(info));
	if (fields['meta version'] === 2 && fields['file tree'] === 'dictionary')
		hashes.push(sha.sha256(info));
	if (!hashes.length)
		file.fail();
	const name = [ fields['name.utf-8'], fields.name ].find(n => n instanceof Uint8Array);
	return { hashes, name: cleanName(name ? new TextDecoder().decode(name) : '') };
}

return baseclass.extend({
	cleanName,
	formatLine,
	identity,
	parseDescription,
	parseLine,
	parseMagnet,
	parseTorrent
});
