// bundle-sha.mjs: prints the module pico-tracker.sha of the LuCI app. A page
// that came over plain HTTP has no crypto.subtle, so the app brings SHA-1 and
// SHA-256 from @noble/hashes, of the version in package-lock.json. A test
// compares the file in the app with what this prints.
//
//     node bundle-sha.mjs >../luci-app-pico-tracker/htdocs/luci-static/resources/pico-tracker/sha.js

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { packages, requirePackage } from './packages.mjs';

const esbuild = requirePackage('esbuild');

export function bundle() {
	const noble = join(packages, 'node_modules', '@noble', 'hashes');
	const { version } = JSON.parse(readFileSync(join(noble, 'package.json'), 'utf8'));
	const built = esbuild.buildSync({
		stdin: {
			contents: `
				export { sha1 } from '@noble/hashes/legacy.js';
				export { sha256 } from '@noble/hashes/sha2.js';
				export { bytesToHex } from '@noble/hashes/utils.js';`,
			resolveDir: packages
		},
		absWorkingDir: packages,
		bundle: true,
		format: 'iife',
		globalName: 'noble',
		target: 'es2020',
		legalComments: 'inline',
		write: false
	}).outputFiles[0].text;
	const licence = readFileSync(join(noble, 'LICENSE'), 'utf8').trim().split('\n');
	return `// SHA-1 and SHA-256 of @noble/hashes ${version}, https://github.com/paulmillr/noble-hashes,
// unchanged. openwrt/luci-test/bundle-sha.mjs makes this file.
//
${licence.map(line => ('// ' + line).trimEnd()).join('\n')}

'use strict';
'require baseclass';

${built}
return baseclass.extend({
	sha1(bytes) {
		return noble.bytesToHex(noble.sha1(bytes));
	},

	sha256(bytes) {
		return noble.bytesToHex(noble.sha256(bytes));
	}
});
`;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href)
	process.stdout.write(bundle());
