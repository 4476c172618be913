// The stand-in for the router's web server: the page around a view, the files of
// the app, and the /ubus endpoint, which enforces the app's own ACL file.

import { createServer } from 'node:http';
import { readFileSync, existsSync, writeFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadBackend } from './backend.mjs';
import { format, parse } from './uci.mjs';

const here = dirname(fileURLToPath(import.meta.url));
export const app = join(here, '..', 'luci-app-pico-tracker');

const json = file => JSON.parse(readFileSync(join(app, file), 'utf8'));
export const menu = json('root/usr/share/luci/menu.d/luci-app-pico-tracker.json');
export const acl = json('root/usr/share/rpcd/acl.d/luci-app-pico-tracker.json')['luci-app-pico-tracker'];

// What LuCI grants to everybody who has logged in, as far as the views use it.
const base = {
	read: { ubus: { uci: [ 'get' ], 'network.interface': [ 'dump' ] } },
	write: { ubus: { uci: [ 'set', 'add', 'delete', 'apply' ] } }
};

// The sessions of the tests, by the rights that they have.
export const sessions = {
	admin: [ 'read', 'write' ],
	reader: [ 'read' ],
	stranger: []
};

function grants(session, scope) {
	return (sessions[session] ?? []).flatMap(right => [ acl[right]?.[scope], base[right]?.[scope] ]).filter(g => g);
}

function mayCall(session, object, method) {
	return grants(session, 'ubus').some(g => g[object]?.includes(method));
}

// mayUse tells whether a session may read or write a configuration.
function mayUse(session, right, config) {
	return (sessions[session] ?? []).includes(right) && (acl[right].uci ?? []).includes(config);
}

function readTranslations(language) {
	const file = join(app, 'po', language, 'pico-tracker.po');
	if (!existsSync(file))
		return {};
	return Object.fromEntries(parsePo(readFileSync(file, 'utf8')).filter(e => e.id && e.texts[0]).map(e => [ e.id, e.texts ]));
}

// parsePo reads the entries of a .po or .pot file.
export function parsePo(text) {
	const entries = [];
	for (const block of text.split(/\n\s*\n/)) {
		const entry = { id: null, plural: null, texts: [] };
		let append = null;
		for (const line of block.split('\n')) {
			const found = line.match(/^(?:(msgid|msgid_plural|msgstr(?:\[([0-9])\])?) )?(".*")$/);
			if (!found)
				continue;
			const value = JSON.parse(found[3]);
			if (found[1] === 'msgid')
				append = v => { entry.id = (entry.id ?? '') + v; };
			else if (found[1] === 'msgid_plural')
				append = v => { entry.plural = (entry.plural ?? '') + v; };
			else if (found[1]) {
				const i = Number(found[2] ?? 0);
				append = v => { entry.texts[i] = (entry.texts[i] ?? '') + v; };
			}
			append(value);
		}
		if (entry.id !== null)
			entries.push(entry);
	}
	return entries;
}

// startServer serves until close() is called. options: root, program,
// services(), signal(); what it was asked is in calls.
export async function startServer(options) {
	const backend = loadBackend(join(app, 'root/usr/share/rpcd/ucode/pico-tracker.uc'), options);
	const configFile = join(options.root, 'etc/config/pico-tracker');
	const calls = [];
	let changed = null; // sections with changes that are not applied

	function callUci(session, method, args) {
		const sections = () => changed ?? parse(readFileSync(configFile, 'utf8'));
		if (method === 'apply') {
			if (changed)
				writeFileSync(configFile, format(changed));
			changed = null;
			return { code: 0 };
		}
		if (args.config !== 'pico-tracker' || !mayUse(session, method === 'get' ? 'read' : 'write', args.config))
			return { code: 6 };
		const all = sections();
		const section = all.find(s => s['.name'] === args.section);
		switch (method) {
		case 'get':
			return { code: 0, reply: { values: Object.fromEntries(all.map((s, i) => [ s['.name'], { ...s, '.index': i } ])) } };
		case 'set':
			Object.assign(section, args.values);
			break;
		case 'add':
			all.push({ '.type': args.type, '.name': args.name });
			break;
		case 'delete':
			if (args.options)
				args.options.forEach(o => delete section[o]);
			else
				all.splice(all.indexOf(section), 1);
		}
		changed = all;
		return { code: 0, reply: {} };
	}

	function call(session, object, method, args) {
		calls.push({ session, object, method, args, at: Date.now() });
		if (!mayCall(session, object, method))
			return null;
		if (object === 'uci')
			return callUci(session, method, args);
		if (object === 'network.interface')
			return { code: 0, reply: { interface: [ 'loopback', 'lan', 'wan', 'wan6' ].map(name => ({ interface: name })) } };
		return backend(object, method, args);
	}

	function page(session, view, language) {
		const environment = {
			session, view, writable: (sessions[session] ?? []).includes('write'),
			translations: readTranslations(language)
		};
		const title = text => environment.translations[text]?.[0] ?? text;
		const tabs = Object.entries(menu).filter(([ , entry ]) => entry.action.type === 'view').map(([ path, entry ]) => {
			const current = entry.action.path === view ? ' aria-current="page"' : '';
			return `<a href="/cgi-bin/luci/${path}?session=${session}"${current}>${title(entry.title)}</a>`;
		});
		return `<!DOCTYPE html><html lang="${language.replace('_', '-')}"><head><meta charset="utf-8"><title>LuCI</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,"><link rel="stylesheet" href="/standin/theme.css">
<script>window.luciEnvironment = ${JSON.stringify(environment).replaceAll('<', '\\u003c')};
window.luciEnvironment.plural = n => ${{ fr: 'n > 1', zh_Hans: '0' }[language] ?? 'n !== 1'} ? 1 : 0;</script>
<script src="/standin/luci.js"></script></head>
<body><header>OpenWrt ${tabs.join(' ')}</header><main id="maincontent"><div id="view"></div></main></body></html>`;
	}

	const server = createServer((request, response) => {
		const url = new URL(request.url, 'http://router');
		const send = (code, type, body) => {
			response.writeHead(code, { 'Content-Type': type });
			response.end(body);
		};
		if (url.pathname === '/ubus' && request.method === 'POST') {
			const parts = [];
			request.on('data', part => parts.push(part));
			request.on('end', () => {
				const body = Buffer.concat(parts);
				if (body.length > 65536) // as uhttpd
					return send(413, 'text/plain', 'too large');
				const { id, params: [ session, object, method, args ] } = JSON.parse(body);
				const result = call(session, object, method, args);
				const reply = result === null ? { error: { code: -32002, message: 'Access denied' } }
					: { result: result.reply === undefined ? [ result.code ] : [ result.code, result.reply ] };
				return send(200, 'application/json', JSON.stringify({ jsonrpc: '2.0', id, ...reply }));
			});
			return undefined;
		}
		const entry = menu[url.pathname.replace('/cgi-bin/luci/', '')];
		if (entry)
			return send(200, 'text/html', page(url.searchParams.get('session'), entry.action.path, url.searchParams.get('language') ?? 'en'));
		const [ , folder, rest ] = url.pathname.match(/^\/(standin|luci-static)(\/.*)$/) ?? [];
		const file = folder && normalize(join(folder === 'standin' ? join(here, 'standin') : join(app, 'htdocs/luci-static'), rest));
		if (file && existsSync(file))
			return send(200, file.endsWith('.css') ? 'text/css' : 'text/javascript', readFileSync(file));
		return send(404, 'text/plain', 'not found');
	});
	await new Promise(resolve => server.listen(0, '127.0.0.1', resolve));
	const origin = 'http://127.0.0.1:' + server.address().port;
	return {
		origin, calls,
		url: (name, session, more = '') => `${origin}/cgi-bin/luci/admin/services/pico-tracker/${name}?session=${session}${more}`,
		close: () => new Promise(resolve => server.close(resolve))
	};
}
