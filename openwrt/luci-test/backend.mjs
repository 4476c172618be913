// Runs the backend of the app, which is written in what ucode and JavaScript have
// in common, with stand-ins for the modules and functions of ucode that it uses.
// As in ucode a string is bytes. The files of the router are below a directory.

import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { parse } from './uci.mjs';

const toBytes = text => Buffer.from(text, 'utf8').toString('latin1');
const fromBytes = text => Buffer.from(text, 'latin1').toString('utf8');

function convert(value, text) {
	if (typeof value === 'string')
		return text(value);
	if (Array.isArray(value))
		return value.map(v => convert(v, text));
	if (value && typeof value === 'object')
		return Object.fromEntries(Object.entries(value).map(([ k, v ]) => [ k, convert(v, text) ]));
	return value;
}

// quietly returns null where a function of node throws.
function quietly(f) {
	try {
		return f();
	} catch {
		return null;
	}
}

// loadBackend reads the backend. options: root, program (of the tracker),
// services() as procd answers it, signal(instance, number).
export function loadBackend(file, options) {
	const path = p => Buffer.from(options.root + p, 'latin1');

	function describe(st) {
		const kinds = { isFile: 'file', isDirectory: 'directory', isSymbolicLink: 'link', isFIFO: 'fifo' };
		const kind = Object.keys(kinds).find(k => st[k]());
		return { type: kinds[kind] ?? 'unknown', size: st.size, mtime: Math.floor(st.mtimeMs / 1000) };
	}

	const interfaces = [
		{ interface: 'loopback', 'ipv4-address': [ { address: '127.0.0.1', mask: 8 } ], route: [] },
		{ interface: 'lan', 'ipv4-address': [ { address: '192.168.1.1', mask: 24 } ], route: [ { target: '10.0.0.0', mask: 8 } ] },
		{ interface: 'wan', 'ipv4-address': [ { address: '203.0.113.7', mask: 24 } ], route: [ { target: '0.0.0.0', mask: 0 } ] },
		{ interface: 'vpn', 'ipv4-address': [ { address: '10.9.9.9', mask: 24 } ], route: [ { target: '0.0.0.0', mask: 0, table: 100 } ] },
		{ interface: 'wan6', 'ipv6-address': [ { address: '2001:db8::7', mask: 64 } ], route: [ { target: '::', mask: 0 } ] }
	];

	const ucode = {
		chmod: (p, mode) => quietly(() => (fs.chmodSync(path(p), mode), true)),
		lsdir: p => quietly(() => fs.readdirSync(path(p), 'latin1')),
		lstat: p => quietly(() => describe(fs.lstatSync(path(p)))),
		stat: p => quietly(() => describe(fs.statSync(path(p)))),
		readfile: (p, limit) => quietly(() => fs.readFileSync(path(p), 'latin1').slice(0, limit)),
		writefile: (p, text) => quietly(() => (fs.writeFileSync(path(p), text, 'latin1'), text.length)),
		rename: (a, b) => quietly(() => (fs.renameSync(path(a), path(b)), true)),
		unlink: p => quietly(() => (fs.unlinkSync(path(p)), true)),
		mkdir: (p, mode) => quietly(() => (fs.mkdirSync(path(p), mode), true)),

		open: (p, how, mode) => quietly(() => {
			const file = fs.openSync(path(p), how, mode);
			return {
				write: text => quietly(() => fs.writeSync(file, text, null, 'latin1')),
				close: () => fs.closeSync(file) === undefined
			};
		}),

		popen(command) {
			const run = spawnSync('/bin/sh', [ '-s' ], { input: Buffer.from(command
				.replaceAll('/usr/bin/pico-tracker', options.program)
				.replaceAll('/sbin/logread -e pico-tracker', `cat '${options.root}/log'`)
				.replace(/( '?)\/(etc|var\/run)\/pico-tracker\//g, `$1${options.root}/$2/pico-tracker/`), 'latin1'), encoding: 'latin1' });
			let rest = run.stdout.replaceAll(options.root + '/etc/', '/etc/');
			return {
				read(what) {
					const end = what === 'line' ? rest.indexOf('\n') + 1 || rest.length : rest.length;
					const part = rest.slice(0, end);
					rest = rest.slice(end);
					return part;
				},
				close: () => run.status
			};
		},

		connect: () => ({
			call(object, method, args) {
				if (object === 'network.interface')
					return { interface: interfaces };
				return method === 'list' ? options.services() : options.signal(args.instance, args.signal);
			}
		}),

		cursor: () => {
			let sections = [];
			return {
				load(config) {
					sections = convert(parse(quietly(() => fs.readFileSync(path('/etc/config/' + config), 'utf8')) ?? ''), toBytes);
				},
				foreach: (config, type, f) => sections.filter(s => s['.type'] === type).forEach(f)
			};
		},

		b64dec: text => /^[A-Za-z0-9+/]*=*$/.test(text) ? Buffer.from(text, 'base64').toString('latin1') : null,
		filter: (array, f) => array.filter(v => f(v)),
		index: (where, what) => where.indexOf(what),
		rindex: (where, what) => where.lastIndexOf(what),
		int: value => parseInt(value, 10),
		join: (separator, array) => array.join(separator),
		keys: object => Object.keys(object),
		lc: text => text.replace(/[A-Z]/g, c => c.toLowerCase()),
		length: value => value === null || value === undefined ? null : typeof value === 'object' && !Array.isArray(value) ? Object.keys(value).length : value.length,
		match: (text, expression) => text.match(expression),
		max: Math.max,
		min: Math.min,
		ord: (text, i) => text.charCodeAt(i),
		pop: array => array.pop(),
		push: (array, value) => array.push(value),
		rtrim: (text, chars) => text.replace(new RegExp(`[${chars ?? ' \\t\\r\\n'}]+$`), ''),
		shift: array => array.shift(),
		sort: array => array.sort(),
		split: (text, separator) => text.split(separator),
		substr: (text, offset, count) => count === undefined ? text.slice(offset) : text.slice(offset, offset + count),
		time: () => Math.floor(Date.now() / 1000),
		trim: text => text.trim(),
		type: value => value === null || value === undefined ? null : Array.isArray(value) ? 'array' : typeof value
	};

	const source = fs.readFileSync(file, 'utf8').replace(/^import \{([^}]*)\} from '(fs|ubus|uci)';$/gm, (all, names) => {
		for (const name of names.split(','))
			if (!ucode[name.trim()])
				throw new Error(`the stand-in lacks ${name}`);
		return '';
	});
	// The regular expressions of ucode are those of POSIX: between brackets, a
	// backslash stands for itself, so [\[\]] ends at the first ].
	for (const [ set ] of source.matchAll(/\[(?:[^\]\\\n]|\\.)*\\[[\]](?:[^\]\\\n]|\\.)*\][+*]/g))
		throw new Error(`${set}: a bracket in a set of characters`);

	// In ucode, unlike in JavaScript, a function is not known above its
	// declaration.
	for (const [ , name ] of source.matchAll(/^function ([a-z_]+)\(/gm))
		if (source.search(new RegExp(`\\b${name}\\(`)) < source.indexOf(`function ${name}(`))
			throw new Error(`${name} is called above its declaration`);
	const objects = new Function(...Object.keys(ucode), source)(...Object.values(ucode));

	// call runs a method as rpcd does: arguments that the method does not name,
	// or of another type, are refused.
	return function call(object, method, args) {
		const found = objects[object]?.[method];
		if (!found)
			return { code: 3 };
		for (const [ name, value ] of Object.entries(args))
			if (!Object.hasOwn(found.args ?? {}, name) || ucode.type(found.args[name]) !== ucode.type(value))
				return { code: 2 };
		// Over the wire: what is no JSON does not arrive.
		const reply = found.call({ args: convert(args, toBytes) });
		return { code: 0, reply: JSON.parse(JSON.stringify(convert(reply, fromBytes))) };
	};
}
