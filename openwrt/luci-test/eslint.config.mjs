// The rules of openwrt/luci for JavaScript and JSON: the recommended rules, except
// those that LuCI switches off. What LuCI only warns of is an error here.

import { requirePackage } from './packages.mjs';

const js = requirePackage('@eslint/js');
const json = requirePackage('@eslint/json').default;
const globals = requirePackage('globals');

const readonly = names => Object.fromEntries(names.map(n => [ n, 'readonly' ]));

const rules = {
	...js.configs.recommended.rules,
	'strict': 'off',
	'no-prototype-builtins': 'off',
	'no-empty': 'off',
	'no-undef': 'error',
	'no-unused-vars': [ 'error', { caughtErrors: 'none' } ],
	'no-regex-spaces': 'off',
	'no-control-regex': 'off'
};

export default [
	{
		files: [ '**/*.json' ],
		ignores: [ '**/package-lock.json' ],
		plugins: { json },
		language: 'json/json',
		rules: { ...json.configs.recommended.rules, 'json/no-duplicate-keys': 'error' }
	},
	{
		files: [ 'luci-app-pico-tracker/**/*.js' ],
		languageOptions: {
			sourceType: 'script',
			ecmaVersion: 2026,
			parserOptions: { ecmaFeatures: { globalReturn: true } },
			globals: {
				...globals.browser,
				...readonly([ '_', 'N_', 'L', 'E', 'baseclass', 'dom', 'form', 'network', 'poll', 'rpc', 'uci', 'ui', 'view', 'widgets' ])
			}
		},
		rules
	},
	{
		files: [ 'luci-test/standin/*.js' ],
		languageOptions: { sourceType: 'script', globals: { ...globals.browser, ...readonly([ 'L', '_' ]) } },
		rules
	},
	{
		files: [ 'luci-test/*.mjs' ],
		languageOptions: { globals: { ...globals.node, ...globals.browser, ...readonly([ 'L' ]) } },
		rules
	}
];
