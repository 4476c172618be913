// Tests what needs no browser: the bundled library and the translations.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { bundle } from './bundle-sha.mjs';
import { app, makePot } from './pot.mjs';
import { parsePo } from './server.mjs';

const module = join(app, 'htdocs/luci-static/resources/pico-tracker/sha.js');

describe('sha', () => {
	test('the file in the app is the library of npm', () => {
		assert.equal(readFileSync(module, 'utf8'), bundle(), 'node bundle-sha.mjs writes it');
	});

	test('it computes what node computes', () => {
		const sha = new Function('baseclass', readFileSync(module, 'utf8'))({ extend: object => object });
		for (const size of [ 0, 1, 55, 56, 63, 64, 65, 119, 120, 1000, 1 << 20 ]) {
			const bytes = new Uint8Array(size).map((_, i) => i * 7);
			for (const kind of [ 'sha1', 'sha256' ])
				assert.equal(sha[kind](bytes), createHash(kind).update(bytes).digest('hex'), `${kind} of ${size} bytes`);
		}
	});
});

describe('translations', () => {
	const template = readFileSync(join(app, 'po/templates/pico-tracker.pot'), 'utf8');
	const texts = parsePo(template).filter(e => e.id);
	const placeholders = text => Array.from(text.matchAll(/%[sd]/g), m => m[0]).join(' ');

	test('the template has the texts of the pages', () => {
		assert.ok(texts.length > 150, `${texts.length} texts`);
		assert.equal(template, makePot(), 'node pot.mjs writes it');
	});

	const languages = readdirSync(join(app, 'po')).filter(l => l !== 'templates');
	test('there are five', () => assert.deepEqual(languages.sort(), [ 'de', 'es', 'fr', 'pt', 'zh_Hans' ]));
	for (const language of languages)
		test(language, () => {
			const po = parsePo(readFileSync(join(app, 'po', language, 'pico-tracker.po'), 'utf8'));
			const forms = Number(po[0].texts[0].match(/nplurals=([0-9])/)[1]);
			const translated = new Map(po.filter(e => e.id).map(e => [ e.id, e ]));
			assert.deepEqual([ ...translated.keys() ].sort(), texts.map(e => e.id).sort());
			for (const { id, plural } of texts) {
				const entry = translated.get(id);
				assert.equal(entry.plural, plural);
				assert.equal(entry.texts.length, plural === null ? 1 : forms, id);
				for (const text of entry.texts) {
					assert.ok(text, id);
					assert.equal(placeholders(text), placeholders(id), id);
				}
			}
		});
});
