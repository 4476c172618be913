// pot.mjs: prints the template of the translations, po/templates/pico-tracker.pot
// of the LuCI app. A test compares the file in the app with what this prints.
//
//     node pot.mjs >../luci-app-pico-tracker/po/templates/pico-tracker.pot

import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

export const app = join(dirname(fileURLToPath(import.meta.url)), '..', 'luci-app-pico-tracker');

function files(directory) {
	return readdirSync(directory, { withFileTypes: true }).flatMap(e => e.isDirectory() ? files(join(directory, e.name)) : [ join(directory, e.name) ]);
}

const unquote = text => text.replace(/\\(.)/g, '$1');

// makePot finds _('…') and N_(n, '…', '…') in the pages, and the titles and
// descriptions that LuCI translates itself.
export function makePot() {
	const found = new Map(); // text: { plural, places }
	const note = (file, id, plural) => {
		const entry = found.get(id) ?? { plural, places: new Set() };
		entry.plural ??= plural;
		entry.places.add(relative(app, file));
		found.set(id, entry);
	};
	const string = "'((?:[^'\\\\\\n]|\\\\.)*)'";
	for (const file of [ ...files(join(app, 'htdocs')), ...files(join(app, 'root')) ]) {
		const text = readFileSync(file, 'utf8');
		if (file.endsWith('.js')) {
			for (const [ , id ] of text.matchAll(new RegExp(`\\b_\\(${string}\\)`, 'g')))
				note(file, unquote(id));
			for (const [ , one, many ] of text.matchAll(new RegExp(`\\bN_\\([^,]+,\\s*${string},\\s*${string}\\)`, 'g')))
				note(file, unquote(one), unquote(many));
		} else if (file.includes('/menu.d/') || file.includes('/acl.d/')) {
			for (const [ , , id ] of text.matchAll(/"(title|description)": "([^"]*)"/g))
				note(file, id);
		}
	}
	const quote = JSON.stringify;
	const entries = Array.from(found).sort(([ a ], [ b ]) => a < b ? -1 : 1).map(([ id, { plural, places } ]) =>
		Array.from(places).sort().map(p => `#: ${p}\n`).join('') + `msgid ${quote(id)}\n` +
		(plural === undefined ? 'msgstr ""\n' : `msgid_plural ${quote(plural)}\nmsgstr[0] ""\nmsgstr[1] ""\n`));
	return [ 'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8"\n', ...entries ].join('\n');
}

if (import.meta.url === pathToFileURL(process.argv[1]).href)
	process.stdout.write(makePot());
