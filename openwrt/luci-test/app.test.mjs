// Tests the app as a user sees it: its unmodified views run in Chromium, and a
// real tracker writes the statistics.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { loadBackend } from './backend.mjs';
import { requirePackage } from './packages.mjs';
import { app, startServer } from './server.mjs';
import { Client, Router, program, until } from './tracker.mjs';

const { chromium } = requirePackage('playwright-core');

const repository = join(import.meta.dirname ?? new URL('.', import.meta.url).pathname, '..', '..');
const HASH = '0123456789abcdef0123456789abcdef01234567';
const OTHER = 'fedcba9876543210fedcba9876543210fedcba98';
const hash = n => String(n).padStart(40, '0');

let browser;
before(async() => {
	browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: [ '--no-sandbox' ] });
});
after(() => browser.close());

// withRouter runs a test with a router and its web server.
async function withRouter(config, run) {
	const router = new Router();
	router.write('/etc/config/pico-tracker', config);
	const server = await startServer(router);
	try {
		await run(router, server);
	} finally {
		await server.close();
		await router.close();
	}
}

// withPage opens a page of the app. What it asks for elsewhere, and each error in
// it, fails the test.
async function withPage(server, name, options, run) {
	const context = await browser.newContext({ viewport: { width: options.width ?? 1000, height: 800 }, colorScheme: options.scheme ?? 'light', deviceScaleFactor: 1 });
	const page = await context.newPage();
	const problems = [];
	page.on('pageerror', error => problems.push(error.stack));
	page.on('request', request => {
		if (!request.url().startsWith(server.origin) && !request.url().startsWith('data:'))
			problems.push('external resource: ' + request.url());
	});
	try {
		if (options.clock)
			await page.clock.install();
		await page.goto(server.url(name, options.session ?? 'admin', options.more ?? ''));
		await page.waitForSelector('body[data-ready]');
		await run(page, context);
		if (!options.mayFail)
			assert.deepEqual(problems, []);
	} finally {
		await context.close();
	}
}

const section = (name, ...lines) => `config pico-tracker '${name}'\n\toption enabled '1'\n${lines.map(l => `\t${l}\n`).join('')}\n`;

// pretend has procd say that a section runs, without a tracker.
function pretend(router, name) {
	router.trackers[name] = { pretended: true, process: { pid: 1, spawnargs: [ '', '-port', '1337' ] }, stopped: false };
}

// statistics returns a file such as the tracker writes.
const statistics = (...lines) => [ '# HELP pico_tracker_build_info The version that runs.', '# TYPE pico_tracker_build_info gauge',
	'pico_tracker_build_info{version="1.2.3"} 1', 'pico_tracker_uptime_seconds 100', 'pico_tracker_stats_interval_seconds 15', ...lines, '' ].join('\n');

// numbers reads the samples of a statistics file, apart from the app's code.
function sample(text, name) {
	const line = text.split('\n').find(l => l.startsWith(`pico_tracker_${name} `));
	return line ? Number(line.slice(line.lastIndexOf(' ') + 1)) : 0;
}

function total(text, name) {
	return text.split('\n').filter(l => l.startsWith(`pico_tracker_${name}{`) || l.startsWith(`pico_tracker_${name} `))
		.reduce((sum, l) => sum + Number(l.slice(l.lastIndexOf(' ') + 1)), 0);
}

const shown = async(page, selector) => Number((await page.textContent(selector)).replace(/[^0-9]/g, ''));

describe('status', () => {
	test('the figures are those of the tracker', () => withRouter(section('main'), async(router, server) => {
		const { port } = await router.start('main', '-top', '20');
		const clients = [ new Client('127.0.0.1', port), new Client('::1', port) ];
		for (const [ i, client ] of clients.entries()) {
			await client.connect();
			for (let n = 0; n < 7; n++)
				assert.equal(await client.announce(hash(n % 3), 6000 + n, n < 2 + i ? 0 : 1), '');
		}
		const counts = { seeders: 0, leechers: 0 };
		const swarms = {};
		for (let n = 0; n < 3; n++) {
			const { seeders, leechers } = await clients[0].scrape(hash(n));
			swarms[hash(n)] = [ seeders, leechers ];
			counts.seeders += seeders;
			counts.leechers += leechers;
		}
		clients.forEach(c => c.close());
		const text = await until('statistics', () => {
			const now = existsSync(router.path('/var/run/pico-tracker-stats/main.prom')) && router.read('/var/run/pico-tracker-stats/main.prom');
			return now && total(now, 'scrapes_total') === 3 && now.includes('top_torrent_peers{') && now;
		});
		await withPage(server, 'status', {}, async page => {
			assert.equal(await page.textContent('[data-figure=state]'), 'Running');
			assert.equal(await shown(page, '[data-figure=torrents]'), 3);
			for (const role of [ 'seeder', 'leecher' ])
				for (const family of [ 'ipv4', 'ipv6' ])
					assert.equal(await shown(page, `[data-figure="${role}.${family}"]`), sample(text, `peers{family="${family}",role="${role}"}`), `${role}s of ${family}`);
			assert.equal(await shown(page, '[data-figure="seeder.ipv4"]') + await shown(page, '[data-figure="seeder.ipv6"]'), counts.seeders, 'seeders as scraped');
			assert.equal(await shown(page, '[data-figure="leecher.ipv4"]') + await shown(page, '[data-figure="leecher.ipv6"]'), counts.leechers, 'leechers as scraped');
			for (const [ kind, metric ] of [ [ 'connects', 'connects_total' ], [ 'announces', 'announces_total' ], [ 'scrapes', 'scrapes_total' ] ])
				assert.equal(await shown(page, `[data-total=${kind}]`), total(text, metric), kind);
			// The busiest torrents, as each was scraped.
			const top = await page.$$eval('[data-table=top] tr', trs => trs.slice(1).map(tr => Array.from(tr.cells, c => c.innerText)));
			assert.deepEqual(top.map(row => row[0]).sort(), [ hash(0), hash(1), hash(2) ]);
			for (const row of top)
				assert.deepEqual(row.slice(1, 3).map(Number), swarms[row[0]], row[0]);
			const bars = await page.$$eval('[role=meter]', nodes => nodes.map(n => Number(n.getAttribute('aria-valuenow'))));
			const percent = (part, whole) => Math.round(100 * part / whole);
			assert.ok(Math.abs(bars[0] - percent(sample(text, 'resident_memory_bytes'), sample(text, 'memory_limit_bytes'))) <= 2, 'memory bar');
			assert.equal(bars[1], percent(sample(text, 'pool_bytes{state="used"}'), total(text, 'pool_bytes')));
			// With the next statistics the curve begins.
			await page.waitForSelector('svg polyline[data-kind=announces][points*=","]', { state: 'attached' });
		});
	}));

	test('the test button asks the tracker', () => withRouter(section('main', "list interface 'wan'"), async(router, server) => {
		await router.start('main');
		await withPage(server, 'status', { session: 'reader' }, async page => {
			await page.click('button:text-is("Test")');
			await page.waitForSelector('text=/127\\.0\\.0\\.1.* answers the connect in [0-9.]+ ms/');
			// A tracker that ends between two updates: its port is closed.
			router.trackers.main.process.kill('SIGKILL');
			await until('the tracker ends', () => router.trackers.main.stopped);
			router.trackers.main.stopped = false;
			await page.click('button:text-is("Test")');
			await page.waitForSelector('text=/refused.*add the network loopback/');
			router.trackers.main.stopped = true;
		});
	}));

	test('the copy button copies the address', () => withRouter(section('main', "option port '6969'"), async(router, server) => {
		pretend(router, 'main');
		await withPage(server, 'status', {}, async(page, context) => {
			const urls = await page.$$eval('code.announce-url', nodes => nodes.map(n => n.textContent));
			assert.deepEqual(urls, [ 'udp://203.0.113.7:6969/announce', 'udp://[2001:db8::7]:6969/announce', 'udp://127.0.0.1:6969/announce' ]);
			await context.grantPermissions([ 'clipboard-read', 'clipboard-write' ]);
			await page.click('button[aria-label="Copy udp://203.0.113.7:6969/announce"]');
			await page.waitForSelector('text=Copied.');
			assert.equal(await page.evaluate(() => navigator.clipboard.readText()), urls[0]);
			// Over plain HTTP a browser has no clipboard.
			await page.evaluate(() => Object.defineProperty(navigator, 'clipboard', { value: undefined }));
			await page.click(`button[aria-label="Copy ${urls[1]}"]`);
			assert.equal(await page.evaluate(() => getSelection().toString()), urls[1]);
		});
	}));

	for (const [ name, lines, want ] of [
		[ 'fixed addresses', [ "list external_ip '198.51.100.4'", "list external_ip '2001:db8:5::4'" ], [ 'udp://198.51.100.4:1337/announce', 'udp://[2001:db8:5::4]:1337/announce' ] ],
		[ 'a file, which the service refuses', [ "list external_ip '/var/run/external'" ], [ 'udp://203.0.113.7:1337/announce', 'udp://[2001:db8::7]:1337/announce' ] ],
		[ 'a port mapping', [ "option port_map 'auto'" ], [ 'udp://198.51.100.9:40000/announce', 'udp://[2001:db8:5::9]:1337/announce' ] ],
		[ 'auto', [ "list external_ip 'auto'" ], [ 'udp://203.0.113.7:1337/announce', 'udp://[2001:db8::7]:1337/announce' ] ]
	])
		test('the address for torrents: ' + name, () => withRouter(section('main', ...lines), async(router, server) => {
			pretend(router, 'main');
			for (const file of [ '/var/run/external', '/var/run/pico-tracker-portmap/main' ])
				router.write(file, '# made by a program\n198.51.100.9:40000\n[2001:db8:5::9]:1337\n<b>no address</b>\n');
			await withPage(server, 'status', {}, async page => {
				const urls = await page.$$eval('code.announce-url', nodes => nodes.map(n => n.textContent));
				assert.deepEqual(urls.slice(0, -1), want);
			});
		}));

	test('the address for torrents: a name of dynamic DNS', () => withRouter(section('main'), async(router, server) => {
		pretend(router, 'main');
		router.write('/etc/config/ddns', [ [ 'one', '1', 'tracker.example.org' ], [ 'two', '0', 'off.example.org' ], [ 'three', '1', 'a"b' ] ]
			.map(([ name, enabled, host ]) => `config service '${name}'\n\toption enabled '${enabled}'\n\toption lookup_host '${host}'\n`).join('\n'));
		await withPage(server, 'status', {}, async page => {
			const urls = await page.$$eval('code.announce-url', nodes => nodes.map(n => n.textContent));
			assert.deepEqual(urls.slice(0, 2), [ 'udp://tracker.example.org:1337/announce', 'udp://203.0.113.7:1337/announce' ]);
			assert.doesNotMatch(urls.join(), /off|"/);
		});
	}));

	for (const [ name, prepare, want ] of [
		[ 'refused', r => r.write('/var/run/pico-tracker/main.refused', "main: memory '16': want a size\n"), /settings have a mistake[^]*main: memory '16': want a size/ ],
		[ 'off', r => r.write('/etc/config/pico-tracker', "config pico-tracker 'main'\n"), /Switched off/ ],
		[ 'ended', r => { pretend(r, 'main'); Object.assign(r.trackers.main, { stopped: true, code: 2 }); }, /exit code 2/ ],
		[ 'not started', () => {}, /Not running/ ],
		[ 'no statistics', r => pretend(r, 'main'), /no statistics yet/ ],
		[ 'statistics off', r => { r.write('/etc/config/pico-tracker', section('main', "option stats 'off'")); pretend(r, 'main'); }, /Statistics are switched off/ ],
		[ 'not a statistics file', r => { r.write('/var/run/pico-tracker-stats/main.prom', 'root:x:0:0\n'); pretend(r, 'main'); }, /not a statistics file/ ],
		[ 'a device', r => { r.write('/etc/config/pico-tracker', section('main', "option stats '/var/run'")); pretend(r, 'main'); }, /not a statistics file/ ]
	])
		test('state: ' + name, () => withRouter(section('main'), async(router, server) => {
			prepare(router);
			await withPage(server, 'status', {}, async page => {
				assert.match(await page.textContent('[data-section=main]'), want);
				assert.doesNotMatch(await page.textContent('body'), /root:x/);
			});
		}));

	test('the busiest and the refused torrents, with names', () => withRouter(section('main', "option whitelist '/etc/pico-tracker/whitelist.txt'"), async(router, server) => {
		pretend(router, 'main');
		router.write('/etc/pico-tracker/whitelist.txt', `${HASH} # Debian <b>13</b>\n`);
		const peers = (h, family, role, n) => `pico_tracker_top_torrent_peers{info_hash="${h}",family="${family}",role="${role}"} ${n}`;
		router.write('/var/run/pico-tracker-stats/main.prom', statistics(
			peers(OTHER, 'ipv4', 'leecher', 3), peers(OTHER, 'ipv6', 'seeder', 4),
			peers(HASH, 'ipv4', 'leecher', 5), peers(HASH, 'ipv4', 'seeder', 20), `pico_tracker_top_torrent_downloads{info_hash="${HASH}"} 1234`,
			`pico_tracker_refused_torrent_age_seconds{info_hash="${hash(7)}"} 65`));
		await withPage(server, 'status', {}, async page => {
			const rows = await page.$$eval('[data-table=top] tr', trs => trs.slice(1).map(tr => Array.from(tr.cells, c => c.innerText.replace(/\n/g, ' '))));
			assert.deepEqual(rows, [
				[ 'Debian <b>13</b> ' + HASH, '20', '5', '25', '0', '1,234' ],
				[ OTHER, '4', '3', '3', '4', '–' ]
			]);
			assert.match(await page.textContent('[data-table=refused]'), /1m 5s ago/);
			assert.match(await page.getAttribute('[data-table=refused] a', 'href'), new RegExp(`/list#main/${hash(7)}$`));
		});
	}));

	test('names of .torrent files in a directory', () => withRouter(section('main', "option whitelist '/etc/pico-tracker/torrents'"), async(router, server) => {
		pretend(router, 'main');
		mkdirSync(router.path('/etc/pico-tracker/torrents'));
		const evil = torrent('<img src=x onerror="window.hacked=1">', v1);
		writeFileSync(router.path('/etc/pico-tracker/torrents/<b>a.torrent'), file(evil));
		writeFileSync(router.path('/etc/pico-tracker/torrents/b.torrent'), file(torrent('Choir\u202e, 1999, 5B', v2)));
		router.write('/etc/pico-tracker/torrents/list.txt', `${HASH} # from the list\n`);
		const hashes = [ digest('sha1', evil), digest('sha256', torrent('Choir\u202e, 1999, 5B', v2)).slice(0, 40), HASH ];
		router.write('/var/run/pico-tracker-stats/main.prom', statistics(...hashes.map((h, i) => `pico_tracker_top_torrent_peers{info_hash="${h}",family="ipv4",role="seeder"} ${9 - i}`)));
		await withPage(server, 'status', { session: 'reader' }, async page => {
			const names = () => page.$$eval('[data-table=top] tr', trs => trs.slice(1).map(tr => tr.cells[0].innerText.split('\n')[0]));
			await until('names', async() => !(await names()).some(n => /^[0-9a-f]{40}$/.test(n)));
			assert.deepEqual(await names(), [ evil.name, 'Choir , 1999, 5B', 'from the list' ]);
			assert.equal(await page.evaluate(() => window.hacked), undefined);
			assert.equal(await page.$('#view img, #view td b'), null);
		});
		await withPage(server, 'list', { session: 'reader' }, async page => {
			await page.waitForSelector('text=onerror');
			assert.equal(await page.evaluate(() => window.hacked), undefined);
			assert.equal(await page.$('#view img, #view td b, #view button'), null);
		});
	}));

	test('a torrent that a real tracker refused', () => withRouter(section('main', "option whitelist '/etc/pico-tracker/whitelist.txt'"), async(router, server) => {
		router.write('/etc/pico-tracker/whitelist.txt', HASH + '\n');
		const { port } = await router.start('main', '-top', '20', '-whitelist', '/etc/pico-tracker/whitelist.txt');
		const client = new Client('127.0.0.1', port);
		await client.connect();
		assert.notEqual(await client.announce(OTHER, 6000, 1), '');
		client.close();
		await until('statistics', () => existsSync(router.path('/var/run/pico-tracker-stats/main.prom')) && router.read('/var/run/pico-tracker-stats/main.prom').includes(OTHER));
		await withPage(server, 'status', {}, async page => {
			assert.match(await page.textContent('[data-table=refused]'), new RegExp(OTHER));
			assert.match(await page.textContent('#view'), /The access list refuses the torrent\./);
		});
	}));

	test('a tracker without these metrics has no such tables', () => withRouter(section('main'), async(router, server) => {
		pretend(router, 'main');
		router.write('/var/run/pico-tracker-stats/main.prom', statistics());
		await withPage(server, 'status', {}, async page => {
			assert.equal(await page.$('[data-table]'), null);
			assert.doesNotMatch(await page.textContent('#view'), /NaN|undefined|null/);
		});
	}));

	test('it asks as often as the statistics change, and not while nobody looks', () => withRouter(section('main'), async(router, server) => {
		pretend(router, 'main');
		router.write('/var/run/pico-tracker-stats/main.prom', statistics());
		await withPage(server, 'status', { clock: true }, async page => {
			const asked = () => server.calls.filter(c => c.method === 'status').length;
			// The clock is stopped between two seconds until the replies are there.
			const run = async seconds => {
				for (let i = 0; i < seconds; i++) {
					await page.clock.runFor(1000);
					await page.evaluate(() => fetch('/luci-static/resources/pico-tracker/metrics.js').then(r => r.text()));
				}
			};
			const first = asked();
			await run(61);
			assert.ok(asked() - first >= 3 && asked() - first <= 5, `${asked() - first} requests in a minute, want 4`);
			await page.evaluate(() => {
				Object.defineProperty(document, 'hidden', { value: true, configurable: true });
				document.dispatchEvent(new Event('visibilitychange'));
			});
			const hidden = asked();
			await run(61);
			assert.equal(asked(), hidden, 'requests while hidden');
			await page.evaluate(() => {
				Object.defineProperty(document, 'hidden', { value: false, configurable: true });
				document.dispatchEvent(new Event('visibilitychange'));
			});
			await until('a request when it is seen again', () => asked() > hidden);
		});
	}));

	test('without a tracker, and after one is added', () => withRouter('', async(router, server) => {
		await withPage(server, 'status', { clock: true }, async page => {
			assert.match(await page.textContent('#view'), /There is no tracker in the settings\.[^]*has logged nothing yet/);
			assert.ok(await page.$('#view a[href$="/settings"]'));
			router.write('/etc/config/pico-tracker', "config pico-tracker 'main'\n");
			await page.clock.runFor(20000);
			await page.waitForSelector('[data-section=main]');
			assert.doesNotMatch(await page.textContent('#view'), /There is no tracker/);
		});
	}));

	test('the log has a filter', () => withRouter(section('main'), async(router, server) => {
		router.write('/log', [ 'daemon.info pico-tracker[7]: [INFO] listening on 0.0.0.0:1337', 'daemon.err pico-tracker[7]: [WARN] the pool is full',
			'daemon.err pico-tracker: main: not started', 'kern.info kernel: pico-tracker was here' ].map(l => 'Wed Nov 25 17:00:00 2026 ' + l + '\n').join(''));
		await withPage(server, 'status', {}, async page => {
			const lines = async() => (await page.textContent('[role=log]')).split('\n').length;
			assert.equal(await lines(), 3);
			await page.fill('#pico-tracker-filter', 'FULL');
			assert.match(await page.textContent('[role=log]'), /^[^\n]*the pool is full$/);
			await page.fill('#pico-tracker-filter', '');
			await page.selectOption('#pico-tracker-level', 'warn');
			assert.equal(await lines(), 2);
		});
	}));

	test('the log of one of several trackers', () => withRouter(section('main') + section('guest'), async(router, server) => {
		const long = 'a_name_that_procd_cuts';
		router.write('/log', [ 'daemon.info pico-tracker[7]: [INFO] one', 'daemon.info pico-tracker-guest[8]: [INFO] two',
			'daemon.err pico-tracker-guest: guest: not started', 'daemon.info pico-tracker-portmap[9]: [INFO] three',
			`daemon.info pico-tracker-${long}[: [INFO] four`, 'daemon.info pico-tracker-x[1: [INFO] five' ].map(l => 'Wed Nov 25 17:00:00 2026 ' + l + '\n').join(''));
		await withPage(server, 'status', {}, async page => {
			const words = async() => (await page.textContent('[role=log]')).match(/\w+$/gm).join(' ');
			assert.equal(await words(), 'one two started three four five');
			await page.selectOption('#pico-tracker-section', { label: 'main' });
			assert.equal(await words(), 'one');
			await page.selectOption('#pico-tracker-section', { label: 'guest' });
			assert.equal(await words(), 'two started');
			// The choice stays while the page is updated.
			router.write('/log', router.read('/log') + 'Wed Nov 25 17:00:01 2026 daemon.info pico-tracker-guest[8]: [INFO] six\n');
			await page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
			await until('the next line', async() => await words() === 'two started six');
			// A section that is gone is no choice.
			router.write('/etc/config/pico-tracker', section('main'));
			await page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
			await until('one section', async() => !await page.isVisible('#pico-tracker-section'));
			assert.equal(await words(), 'one two started three four five six');
		});
	}));

	test('nothing that is shown becomes markup', () => withRouter(section('main', "option whitelist '/etc/pico-tracker/whitelist.txt'") + section('second'), async(router, server) => {
		const evil = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>';
		pretend(router, 'main');
		router.write('/var/run/pico-tracker-stats/main.prom', statistics(
			`pico_tracker_build_info{version="${evil.replaceAll('"', '')}"} 1`.replace('build_info', 'build_info'),
			`pico_tracker_errors_total{family="ipv4",action="announce",reason="${evil.replaceAll('"', '')}"} 5`,
			`pico_tracker_top_torrent_peers{info_hash="${evil.replaceAll('"', '')}",family="ipv4",role="seeder"} 9`,
			`pico_tracker_top_torrent_peers{info_hash="${HASH}",family="__proto__",role="constructor"} 9`,
			`pico_tracker_refused_torrent_age_seconds{info_hash="${HASH}"} 5`,
			'pico_tracker___proto__{polluted="1"} 1', 'pico_tracker_full NaN', 'pico_tracker_torrents -5', evil, 'pico_tracker_peers{family="ipv4",role="seeder"} 1e999')
			.replace('version="1.2.3"', `version="${evil.replaceAll('"', '')}"`));
		router.write('/etc/pico-tracker/whitelist.txt', `${HASH} # ${evil}\n`);
		router.write('/var/run/pico-tracker/second.refused', evil + '\n');
		router.write('/log', `Wed Nov 25 17:00:00 2026 daemon.err pico-tracker[7]: ${evil}\n`);
		for (const name of [ 'status', 'list' ])
			await withPage(server, name, {}, async page => {
				assert.match(await page.textContent('#view'), /onerror/, 'the text is there');
				assert.equal(await page.$('#view img, #view script'), null);
				assert.equal(await page.evaluate(() => window.hacked), undefined);
				assert.equal(await page.evaluate(() => ({}).polluted), undefined);
				assert.doesNotMatch(await page.textContent('#view'), /NaN|Infinity/);
			});
	}));
});

// runInit starts the service with a configuration, as the tests in packaging do,
// and returns what was logged and which command lines would run.
function runInit(router) {
	const scratch = router.path('/init');
	mkdirSync(scratch, { recursive: true });
	const run = spawnSync('busybox', [ 'ash', 'testdata/recorder.sh', '../init.d/pico-tracker', router.path('/etc/config/pico-tracker'), scratch, 'start_service' ],
		{ cwd: join(repository, 'packaging'), encoding: 'utf8', env: { ...process.env, TRACKER: program } });
	assert.equal(run.stderr, '');
	// A file that was recorded may span lines.
	const records = run.stdout.replace(/^\["file"[^]*?"\]$/gm, '').split('\n').filter(l => l).map(l => JSON.parse(l));
	return {
		errors: records.filter(r => r[0] === 'logger').map(r => r[r.length - 1]),
		programs: records.filter(r => r[1] === 'command').map(r => r[2]),
		commands: records.filter(r => r[1] === 'command').flatMap(r => r.slice(2)),
		instances: records.filter(r => r[0] === 'procd_open_instance').map(r => r[1])
	};
}

const initScript = readFileSync(join(repository, 'init.d/pico-tracker'), 'utf8');
const initOptions = Array.from(initScript.matchAll(/^\t\t'([a-z_]+):([^']*)'/gm), m => m[1]);

describe('settings', () => {
	const everything = {
		port: '6969', memory: '16M', interval: '20m', listen: [ '192.168.1.1', 'fd00::1' ], interface: [ 'lan', 'br-guest' ],
		external_ip: [ '198.51.100.4' ], whitelist: '/etc/pico-tracker/private.txt', connect_limit: '0', scrape_limit: '10',
		secret_file: '/etc/pico-tracker/key', workers: '2', stats: '/var/prometheus/a.prom', stats_interval: '1m', top: '5', isolate: [ 'none', '192.168.2.0/24' ]
	};

	test('the form has the options of the service, and no others', () => withRouter(section('main'), async(router, server) => {
		assert.ok(initOptions.length >= 19, `${initOptions.length} options in the script`);
		await withPage(server, 'settings', {}, async page => {
			const options = await page.$$eval('[data-option]', nodes => nodes.map(n => n.dataset.option));
			assert.deepEqual(options.sort(), [ ...initOptions ].sort());
			for (const [ tab ] of [ [ 'General' ], [ 'Network' ], [ 'Access' ], [ 'Advanced' ] ])
				assert.ok(await page.$(`[role=tab]:text-is("${tab}")`), tab);
			// Each option has one line of help.
			for (const text of await page.$$eval('.cbi-value-description', nodes => nodes.map(n => n.textContent)))
				assert.match(text, /^[A-Z0-9a-z].{10,}\.$/);
			// The gray values are the defaults of the script and of the tracker.
			const help = spawnSync(program, [ '-help' ], { encoding: 'utf8' }).stdout;
			const defaults = Object.fromEntries([
				...Array.from(help.matchAll(/^ +-([a-z-]+)(?:(?!^ +-)[^])*?\(default:? ([0-9a-z]+)\)/gm), m => [ m[1].replaceAll('-', '_'), m[2] ]),
				...Array.from(initScript.matchAll(/^\t\t'([a-z_]+):[^':]*:([^']+)'/gm), m => m.slice(1))
			]);
			let compared = 0;
			for (const [ name, placeholder ] of await page.$$eval('[data-option] input[type=text]', nodes => nodes.map(n => [ n.closest('[data-option]').dataset.option, n.placeholder ])))
				if (placeholder && defaults[name] && ++compared)
					assert.equal(placeholder, defaults[name], name);
			assert.ok(compared >= 5, `${compared} defaults compared`);
		});
	}));

	const fill = async(page, id, option, value) => {
		const field = `[data-section-id=${id}] [data-option=${option}]`;
		await page.evaluate(selector => {
			const pane = document.querySelector(selector).closest('[data-tab]');
			pane.parentNode.querySelectorAll('[role=tabpanel]').forEach(p => p.classList.toggle('hidden', p !== pane));
		}, field);
		for (const [ i, one ] of (Array.isArray(value) ? value : [ value ]).entries()) {
			if (i)
				await page.click(`${field} button.add`);
			if (await page.$(`${field} select`))
				await page.selectOption(`${field} select`, one);
			else
				await page.locator(`${field} input[type=text]`).nth(i).fill(one);
		}
	};

	test('what is saved is accepted by the service', () => withRouter(section('main'), async(router, server) => {
		await withPage(server, 'settings', {}, async page => {
			for (const [ option, value ] of Object.entries(everything))
				if (initOptions.includes(option))
					await fill(page, 'main', option, value);
			for (const box of [ 'firewall_zone] input[value=wan', 'notrack] input[type=checkbox', 'debug] input[type=checkbox' ])
				await page.evaluate(n => document.querySelector(`[data-option=${n}]`).click(), box);
			await page.locator('text=Save & Apply').press('Enter');
			await page.waitForSelector('text=Configuration applied.');
		});
		const config = router.read('/etc/config/pico-tracker');
		assert.match(config, /list listen '192\.168\.1\.1'\n\tlist listen 'fd00::1'/);
		const { errors, commands, instances } = runInit(router);
		assert.deepEqual(errors, []);
		assert.deepEqual(instances, [ 'main' ]);
		for (const want of [ '6969', '192.168.1.1,fd00::1', 'br-lan,br-guest', '198.51.100.4', '/etc/pico-tracker/private.txt', '20m', '16M', '/var/prometheus/a.prom', '1m', '5', 'none,192.168.2.0/24', '-debug' ])
			assert.ok(commands.includes(want), `${want} in ${commands}`);
		assert.match(config, /list firewall_zone 'wan'/);
	}));

	test('a section is added and removed', () => withRouter(section('main'), async(router, server) => {
		await withPage(server, 'settings', {}, async page => {
			await page.fill('.cbi-section-create-name', 'second');
			await page.click('text=Add a tracker');
			await page.waitForSelector('[data-section-id=second]');
			await page.click('[data-section-id=main] .cbi-section-remove button');
			await fill(page, 'second', 'port', '1338');
			await page.evaluate(() => document.querySelector('[data-section-id=second] [data-option=enabled] input').click());
			await page.locator('text=Save & Apply').press('Enter');
			await page.waitForSelector('text=Configuration applied.');
		});
		const { errors, instances } = runInit(router);
		assert.deepEqual([ errors, instances ], [ [], [ 'second' ] ]);
	}));

	// Each value is given to the form, to the service and to the tracker: what the
	// form takes both must take, and what it refuses one of them refuses.
	const range = name => {
		const [ , least, most ] = initScript.match(new RegExp(`'${name}:range\\(([0-9]+),([0-9]+)\\)`)).map(Number);
		return { good: [ String(least), String(most) ], bad: [ String(least - 1), String(most + 1), 'x', '7 ' ] };
	};
	const values = {
		port: range('port'),
		listen: { good: [ '0.0.0.0', '::', '192.168.1.1', 'fd00::1' ], bad: [ '192.168.1.1:80', '[::1]:80', 'localhost', '192.168.1.256', '::ffff:1.2.3.4', 'fe80::1%eth0', '1.2.3' ] },
		interface: { good: [ 'lan', 'br-lan.2', 'pppoe_wan' ], bad: [ 'a/b', '12', 'a-name-that-is-too-long', 'lan,wan' ] },
		memory: { good: [ '16M', '1G', '8192K', '8m', 'auto' ], bad: [ '16', '16MB', '0M', '1.5G', '-8M', '1M', '4M', '99G' ] },
		interval: { good: [ '1m', '2h', '900s', '1h30m' ], bad: [ '59s', '3h', '15', '15 m', '15min', '-5m', '1d' ] },
		stats_interval: { good: [ '1s', '1h', '90s' ], bad: [ '0s', '61m', '2h', '15' ] },
		workers: range('workers'),
		connect_limit: range('connect_limit'),
		scrape_limit: range('scrape_limit'),
		...(initOptions.includes('top') ? { top: range('top') } : {}),
		external_ip: { good: [ 'auto', '203.0.113.7', '2001:db8::1' ], bad: [ '192.168.1.1', '10.0.0.1', '172.16.0.1', '100.64.0.1', '127.0.0.1', '169.254.1.1', '0.1.2.3',
			'224.0.0.1', 'fd00::1', 'fe80::1', 'fec0::1', 'ff02::1', '::1', '::', 'wan', '203.0.113.7:1337' ] },
		isolate: { good: [ '192.168.2.0/24', 'fd00:2::/64', '100.64.0.0/10', '200::/7', 'none' ], bad: [ '8.8.8.0/24', '192.168.2.0/33', '192.168.2.0/0', '2001:db8::/32', '192.168.2/24', 'fd00::/129', 'a;b' ] },
		whitelist: { good: [ '/etc/pico-tracker/a.txt', '/mnt/usb/b.list' ], bad: [ 'a.txt', '/a.txt', '/etc/a b.txt', '/etc/../a.txt', '/etc/x/..' ] },
		stats: { good: [ 'off', '/var/prometheus/a.prom' ], bad: [ 'on', 'a.prom', '/a.prom' ] },
		secret_file: { good: [ '/etc/pico-tracker/secret' ], bad: [ 'secret', '/secret' ] }
	};

	test('a value is right or wrong for the form, the service and the tracker alike', () => withRouter(section('main'), async(router, server) => {
		const cases = Object.entries(values).flatMap(([ option, { good, bad } ]) => [ ...good.map(v => [ option, v, true ]), ...bad.map(v => [ option, v, false ]) ])
			.filter(([ option ]) => initOptions.includes(option));
		await withPage(server, 'settings', {}, async page => {
			for (const [ option, value, want ] of cases) {
				const message = await page.evaluate(([ option, value ]) => {
					const field = document.querySelector(`[data-option=${option}]`);
					const input = field.querySelector('input[type=text]');
					input.value = value;
					input.dispatchEvent(new Event('change'));
					const message = field.querySelector('.cbi-value-problem').textContent;
					input.value = '';
					return message;
				}, [ option, value ]);
				assert.equal(message === '', want, `the form: ${option} "${value}": ${message}`);
				if (!want)
					assert.match(message, /^(Enter|.* is a private or special)[^]*\.$/, 'it says what is right');
			}
		});
		// A section for each value: the service starts those that it and the
		// tracker take.
		const list = option => [ 'listen', 'interface', 'external_ip', 'isolate' ].includes(option) ? 'list' : 'option';
		router.write('/etc/config/pico-tracker', cases.map(([ option, value ], i) => section('s' + i, ...(option === 'stats' ? [] : [ `option stats 'off'` ]), `${list(option)} ${option} '${value}'`)).join(''));
		const { instances } = runInit(router);
		for (const [ i, [ option, value, want ] ] of cases.entries()) {
			const taken = instances.includes('s' + i);
			assert.equal(taken, want, `service and tracker: ${option} "${value}"`);
		}
	}));

	for (const [ name, filled, boxes, option, lines ] of [
		[ 'two lists', { whitelist: '/etc/l/a.txt', blacklist: '/etc/l/b.txt' }, [], 'blacklist', [ "option whitelist '/etc/l/a.txt'", "option blacklist '/etc/l/b.txt'" ] ],
		[ 'no zone to exclude', {}, [ 'notrack' ], 'notrack', [ "option notrack '1'" ] ],
		[ 'a port mapping and an address', { external_ip: '203.0.113.7', port_map: 'auto' }, [], 'port_map', [ "option port_map 'auto'", "list external_ip '203.0.113.7'" ] ],
		[ 'isolation without scopes', { isolate: 'guest', scope: 'off' }, [], 'isolate', [ "list isolate 'guest'", "option scope 'off'" ] ],
		[ 'two addresses of a family', { external_ip: [ '203.0.113.7', '203.0.113.8' ] }, [], 'external_ip', null ],
		[ 'an address twice', { listen: [ 'fd00::1', 'fd00:0::1' ] }, [], 'listen', null ]
	])
		test('options that do not go together: ' + name, () => withRouter(section('main'), async(router, server) => {
			await withPage(server, 'settings', {}, async page => {
				for (const [ o, value ] of Object.entries(filled))
					await fill(page, 'main', o, value);
				for (const box of boxes)
					await page.evaluate(n => document.querySelector(`[data-option=${n}] input`).click(), box);
				await page.locator('text=Save & Apply').press('Enter');
				await page.waitForSelector('text=contains an invalid input value');
				assert.notEqual(await page.textContent(`[data-option=${option}] .cbi-value-problem`), '');
			});
			assert.equal(router.read('/etc/config/pico-tracker'), section('main'));
			if (lines) {
				router.write('/etc/config/pico-tracker', section('main', ...lines));
				assert.equal(runInit(router).instances.length, 0, 'the service starts it');
			}
		}));

	test('the gray statistics file is that of the section', () => withRouter(section('main') + section('second'), async(router, server) => {
		await withPage(server, 'settings', {}, async page => {
			for (const name of [ 'main', 'second' ])
				assert.equal(await page.getAttribute(`[data-section-id=${name}] [data-option=stats] input`, 'placeholder'), `/var/run/pico-tracker-stats/${name}.prom`);
		});
	}));

	test('two sections cannot have one statistics file', () => withRouter(section('main') + section('second', "option port '1338'", "option stats '/var/run/pico-tracker-stats/main.prom'"), async(router, server) => {
		await withPage(server, 'settings', {}, async page => {
			await page.locator('text=Save & Apply').press('Enter');
			await page.waitForSelector('text=Another section writes its statistics to this file');
		});
		assert.deepEqual(runInit(router).instances, [ 'main' ]);
	}));
});

// bencode writes what a .torrent file is made of.
function bencode(value) {
	if (typeof value === 'number')
		return Buffer.from(`i${value}e`);
	if (typeof value === 'string' || Buffer.isBuffer(value)) {
		const bytes = Buffer.from(value);
		return Buffer.concat([ Buffer.from(bytes.length + ':'), bytes ]);
	}
	if (Array.isArray(value))
		return Buffer.concat([ Buffer.from('l'), ...value.map(bencode), Buffer.from('e') ]);
	return Buffer.concat([ Buffer.from('d'), ...Object.keys(value).sort().flatMap(k => [ bencode(k), bencode(value[k]) ]), Buffer.from('e') ]);
}

const v1 = { length: 5, 'piece length': 16384, pieces: Buffer.alloc(20, 7) };
const v2 = { 'file tree': { 'a.iso': { '': { length: 5, 'pieces root': Buffer.alloc(32, 9) } } }, 'meta version': 2, 'piece length': 16384 };
const torrent = (name, ...parts) => Object.assign({ name }, ...parts);
const file = info => bencode({ announce: 'udp://x', info });
const digest = (kind, info) => createHash(kind).update(bencode(info)).digest('hex');

const whitelisted = section('main', "option whitelist '/etc/pico-tracker/whitelist.txt'");

describe('access list', () => {
	test('round trip, with a tracker that follows at once', () => withRouter(whitelisted, async(router, server) => {
		router.write('/etc/pico-tracker/whitelist.txt', `# my list\n\n${HASH} # Debian 13\n# about the next one\n${OTHER}\nnot a hash\n`);
		const { port } = await router.start('main', '-whitelist', '/etc/pico-tracker/whitelist.txt');
		const client = new Client('127.0.0.1', port);
		await client.connect();
		assert.equal(await client.announce(HASH, 6000, 1), '');
		const infos = { v1: torrent('one', v1), v2: torrent('two ü', v2), hybrid: torrent('three\nlines‮', v1, v2) };
		await withPage(server, 'list', {}, async page => {
			assert.equal(await page.locator('button:text-is("Save and apply")').isDisabled(), true);
			assert.match(await page.textContent('#view'), /1 line of the file is neither/);
			await page.fill('textarea', [ hash(1), `${hash(2).toUpperCase()} , a name`, `magnet:?xt=urn:btih:${hash(3)}&dn=From%20a+magnet&tr=udp://x`,
				'magnet:?xt=urn:btih:AERUKZ4JVPG66AJDIVTYTK6N54ASGRLH&dn=base32', HASH + ' again', 'rubbish' ].join('\n'));
			await page.click('button:text-is("Add")');
			assert.equal(await page.inputValue('textarea'), 'rubbish', 'what is no hash stays');
			await page.setInputFiles('input[type=file]', Object.entries(infos).map(([ name, info ]) => ({ name: name + '.torrent', mimeType: 'application/x-bittorrent', buffer: file(info) })));
			await page.waitForSelector('text=3 torrents are ready to be saved.');
			await page.click(`button[aria-label="Remove ${OTHER}"]`);
			await page.click('button:text-is("Save and apply")');
			await page.waitForSelector('text=The tracker uses the new list now.');
		});
		const want = [ '# my list', '', `${HASH} # Debian 13`, '# about the next one', 'not a hash', hash(1), `${hash(2)} # a name`, `${hash(3)} # From a magnet`,
			`${digest('sha1', infos.v1)} # one`, `${digest('sha256', infos.v2)} # two ü`, `${digest('sha1', infos.hybrid)} # three lines`, `${digest('sha256', infos.hybrid)} # three lines` ];
		assert.deepEqual(router.read('/etc/pico-tracker/whitelist.txt').trimEnd().split('\n'), want);
		assert.equal(statSync(router.path('/etc/pico-tracker/whitelist.txt')).mode & 0o777, 0o644);
		for (const h of [ HASH, hash(1), hash(3), digest('sha1', infos.v1), digest('sha256', infos.v2).slice(0, 40) ])
			await until(`${h} is tracked`, async() => await client.announce(h, 6000, 1) === '', 5);
		await until('what was removed is refused', async() => await client.announce(OTHER, 6000, 1) !== '', 10);
		client.close();
	}));

	test('a dropped file, and one that is none', () => withRouter(whitelisted, async(router, server) => {
		router.write('/etc/pico-tracker/whitelist.txt', '');
		await withPage(server, 'list', {}, async page => {
			const drop = (name, bytes) => page.evaluate(([ name, bytes ]) => {
				const transfer = new DataTransfer();
				transfer.items.add(new File([ new Uint8Array(bytes) ], name));
				document.querySelector('.pico-tracker-drop').dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true }));
			}, [ name, Array.from(bytes) ]);
			await drop('a.torrent', file(torrent('dropped', v1)));
			await page.waitForSelector(`text=${digest('sha1', torrent('dropped', v1))}`);
			for (const bytes of [ Buffer.from('hello'), Buffer.alloc(0), file(torrent('x', v1)).subarray(0, 60), Buffer.from('d4:infoi1ee'), Buffer.from('d4:info' + 'l'.repeat(5000)), bencode({ info: { name: 'no pieces' } }) ]) {
				await drop('b.torrent', bytes);
				await page.waitForSelector('text=b.torrent: This is not a .torrent file.');
				await page.fill('textarea', HASH);
				await page.click('button:text-is("Add")');
				await page.waitForSelector('text=/^1 torrent is (ready|in the list)|^0 torrents/');
			}
		});
	}));

	test('a file that changed meanwhile is not overwritten', () => withRouter(whitelisted, async(router, server) => {
		router.write('/etc/pico-tracker/whitelist.txt', `${HASH} # mine\n`);
		await withPage(server, 'list', {}, async page => {
			await page.fill('textarea', hash(1));
			await page.click('button:text-is("Add")');
			// As long as before, and in the same second.
			router.write('/etc/pico-tracker/whitelist.txt', `${OTHER} # mine\n`);
			await page.click('button:text-is("Save and apply")');
			await page.waitForSelector('text=Somebody else changed the file meanwhile.');
			assert.equal(router.read('/etc/pico-tracker/whitelist.txt'), `${OTHER} # mine\n`);
			await page.click('button:text-is("Load again")');
			await page.waitForSelector(`text=${OTHER}`);
			await page.click('button:text-is("Save and apply")');
			await page.waitForSelector('text=The tracker uses the new list now.');
			assert.equal(router.read('/etc/pico-tracker/whitelist.txt'), `${OTHER} # mine\n${hash(1)}\n`);
		});
	}));

	test('a name is changed in place', () => withRouter(whitelisted, async(router, server) => {
		router.write('/etc/pico-tracker/whitelist.txt', `# a\n${HASH}\n# b\n`);
		await withPage(server, 'list', {}, async page => {
			await page.click('button:text-is("Name…")');
			await page.fill('[role=dialog] input', 'not this');
			await page.press('[role=dialog] input', 'Escape');
			await page.click('button:text-is("Name…")');
			await page.fill('[role=dialog] input', 'Ünïcode <i>');
			await page.press('[role=dialog] input', 'Enter');
			// The keyboard stays in the row.
			const focused = () => page.evaluate(() => document.activeElement.textContent || document.activeElement.id);
			assert.equal(await focused(), 'Undo');
			await page.keyboard.press('Enter');
			assert.equal(await focused(), 'Name…');
			await page.keyboard.press('Tab');
			await page.keyboard.press('Enter');
			assert.equal(await focused(), 'Undo');
			await page.keyboard.press('Enter');
			await page.click('button:text-is("Name…")');
			await page.fill('[role=dialog] input', 'Ünïcode <i>');
			await page.click('[role=dialog] button:text-is("Change")');
			await page.click('button:text-is("Save and apply")');
			await page.waitForSelector('text=The tracker uses the new list now.');
		});
		assert.equal(router.read('/etc/pico-tracker/whitelist.txt'), `# a\n${HASH} # Ünïcode <i>\n# b\n`);
	}));

	test('a large list goes in several requests', () => withRouter(whitelisted, async(router, server) => {
		router.write('/etc/pico-tracker/whitelist.txt', Array.from({ length: 4000 }, (_, i) => `${hash(i)} # torrent ${i}\n`).join(''));
		await withPage(server, 'list', {}, async page => {
			await page.waitForSelector('text=200 of 4000 torrents are shown.');
			await page.evaluate(text => { document.querySelector('textarea').value = text; }, Array.from({ length: 2500 }, (_, i) => hash(10000 + i)).join('\n'));
			await page.click('button:text-is("Add")');
			await page.waitForSelector('text=2500 torrents are ready');
			await page.click('button:text-is("Save and apply")');
			await page.waitForSelector('text=The tracker uses the new list now.');
		});
		assert.equal(router.read('/etc/pico-tracker/whitelist.txt').split('\n').length, 6501);
		assert.ok(server.calls.filter(c => c.method === 'edit').length > 3);
		assert.ok(server.calls.filter(c => c.method === 'list').length > 2);
	}));

	test('a torrent that was refused is allowed from the status page', () => withRouter(whitelisted, async(router, server) => {
		await withPage(server, 'list', { more: `#main/${HASH}` }, async page => {
			assert.match(await page.textContent('[data-section=main] table'), new RegExp(HASH));
			await page.click('button:text-is("Save and apply")');
			await page.waitForSelector('text=The tracker uses the new list now.');
		});
		assert.equal(router.read('/etc/pico-tracker/whitelist.txt'), HASH + '\n');
	}));

	const inDirectory = section('main', "option whitelist '/etc/pico-tracker/torrents'");

	test('a directory of .torrent files, with a tracker that follows at once', () => withRouter(inDirectory, async(router, server) => {
		mkdirSync(router.path('/etc/pico-tracker/torrents'));
		const infos = { one: torrent('The first', v1), two: torrent('two ü', v1, v2), three: torrent('three', v2) };
		for (const name of [ 'one', 'two' ])
			writeFileSync(router.path(`/etc/pico-tracker/torrents/${name}.torrent`), file(infos[name]));
		router.write('/etc/pico-tracker/torrents/bad.TORRENT', 'rubbish');
		router.write('/etc/pico-tracker/torrents/.hidden.torrent', 'x');
		symlinkSync('/etc/shadow', router.path('/etc/pico-tracker/torrents/link.torrent'));
		const { port } = await router.start('main', '-whitelist', '/etc/pico-tracker/torrents');
		const client = new Client('127.0.0.1', port);
		await client.connect();
		assert.equal(await client.announce(digest('sha1', infos.one), 6000, 1), '');
		assert.notEqual(await client.announce(HASH, 6000, 1), '');
		// So large that it goes in several parts.
		const large = torrent('large', { length: 5, 'piece length': 16384, pieces: Buffer.alloc(100000, 7) });
		await withPage(server, 'list', {}, async page => {
			await page.waitForSelector('text=The first');
			const rows = async() => page.$$eval('#view table tr', trs => trs.slice(1).map(tr => Array.from(tr.cells, c => c.innerText.trim().replace(/\n/g, ' ')).slice(0, 2)));
			await page.waitForSelector('text=/cannot use this file: not a valid/');
			assert.deepEqual((await rows()).filter(r => !r[0].startsWith('bad')), [
				[ 'The first one.torrent', digest('sha1', infos.one) ],
				[ 'two ü two.torrent', `${digest('sha1', infos.two)} ${digest('sha256', infos.two)}` ]
			]);
			assert.doesNotMatch(await page.textContent('#view'), /hidden|link\.torrent/);
			await page.setInputFiles('input[type=file]', [
				{ name: 'one.torrent', mimeType: 'x', buffer: file(infos.three) }, // another torrent of that name
				{ name: 'again.torrent', mimeType: 'x', buffer: file(infos.one) },
				{ name: '../..<b>\'large.torrent', mimeType: 'x', buffer: file(large) }
			]);
			await page.waitForSelector('text=/2 torrents are ready to be saved. 1 torrent is in the list/');
			await page.fill('textarea', HASH);
			await page.click('button:text-is("Add")');
			await page.click('button[aria-label="Remove two ü"]');
			await page.click('button[aria-label="Remove bad.TORRENT"]');
			await page.click('button:text-is("Save and apply")');
			await page.waitForSelector('text=The tracker uses the new list now.');
			assert.equal(await page.locator('button:text-is("Save and apply")').isDisabled(), true);
			assert.deepEqual((await rows()).map(r => r[0]).sort(), [ '–', 'The first one.torrent', "large _..<b>'large.torrent", 'three one (2).torrent' ].sort());
		});
		assert.deepEqual(readdirSync(router.path('/etc/pico-tracker/torrents')).sort(), [ '.hidden.torrent', "_..<b>'large.torrent", 'link.torrent', 'list.txt', 'one (2).torrent', 'one.torrent' ].sort());
		assert.deepEqual(readFileSync(router.path('/etc/pico-tracker/torrents/one (2).torrent')), file(infos.three));
		assert.equal(statSync(router.path('/etc/pico-tracker/torrents/one (2).torrent')).mode & 0o777, 0o644);
		assert.equal(router.read('/etc/pico-tracker/torrents/list.txt'), HASH + '\n');
		assert.ok(server.calls.filter(c => c.method === 'store').length >= 4);
		for (const h of [ HASH, digest('sha256', infos.three).slice(0, 40), digest('sha1', large) ])
			await until(`${h} is tracked`, async() => await client.announce(h, 6000, 1) === '', 5);
		await until('what was removed is refused', async() => await client.announce(digest('sha1', infos.two), 6000, 1) !== '', 10);
		client.close();
	}));

	test('a .torrent file that changed meanwhile is not removed', () => withRouter(inDirectory, async(router, server) => {
		mkdirSync(router.path('/etc/pico-tracker/torrents'));
		const path = router.path('/etc/pico-tracker/torrents/a.torrent');
		writeFileSync(path, file(torrent('before', v1)));
		await withPage(server, 'list', {}, async page => {
			await page.waitForSelector('text=before');
			writeFileSync(path, file(torrent('another one', v1)));
			await page.click('button[aria-label="Remove before"]');
			await page.click('button:text-is("Save and apply")');
			await page.waitForSelector('text=Somebody else changed the file meanwhile.');
			await page.click('button:text-is("Load again")');
			await page.waitForSelector('button[aria-label="Remove another one"]');
		});
		assert.ok(existsSync(path));
	}));

	test('many .torrent files are read in several requests, and only once', () => withRouter(inDirectory, async(router, server) => {
		mkdirSync(router.path('/etc/pico-tracker/torrents'));
		for (let i = 0; i < 60; i++)
			writeFileSync(router.path(`/etc/pico-tracker/torrents/${i}.torrent`), file(torrent('torrent ' + i, v1)));
		await withPage(server, 'list', {}, async page => {
			await page.waitForSelector('text=torrent 59');
			await until('all are read', () => page.$('text=Reading').then(n => !n));
			const asked = () => server.calls.filter(c => c.method === 'torrents').length;
			assert.ok(asked() >= 2, `${asked()} requests`);
			const before = asked();
			writeFileSync(router.path('/etc/pico-tracker/torrents/7.torrent'), file(torrent('a new name', v1)));
			await page.reload();
			await page.waitForSelector('text=a new name');
			assert.equal(asked(), before + 1);

			// The router takes too long for the second request.
			let requests = 0;
			await page.evaluate(() => sessionStorage.clear());
			await page.route('**/ubus', route => {
				const { id, params } = route.request().postDataJSON();
				return params[2] === 'torrents' && ++requests === 2 ? route.fulfill({ json: { jsonrpc: '2.0', id, result: [ 7 ] } }) : route.continue();
			});
			await page.reload();
			await page.waitForSelector('text=The request failed: timeout');
		});
	}));

	test('a long name of a .torrent file is cut between two characters', () => withRouter(inDirectory, async(router, server) => {
		mkdirSync(router.path('/etc/pico-tracker/torrents'));
		await withPage(server, 'list', {}, async page => {
			await page.setInputFiles('input[type=file]', { name: 'x' + '😀'.repeat(70) + '.torrent', mimeType: 'x', buffer: file(torrent('long', v1)) });
			await page.waitForSelector('text=/1 torrent is ready/');
			await page.click('button:text-is("Save and apply")');
			await page.waitForSelector('text=The tracker uses the new list now.');
		});
		assert.deepEqual(readdirSync(router.path('/etc/pico-tracker/torrents')), [ 'x' + '😀'.repeat(49) + '.torrent' ]);
	}));

	test('a directory of lists', () => withRouter(section('main', "option blacklist '/etc/pico-tracker/lists/'"), async(router, server) => {
		mkdirSync(router.path('/etc/pico-tracker/lists'));
		router.write('/etc/pico-tracker/lists/a.txt', HASH + '\n');
		router.write('/etc/pico-tracker/lists/b.list', OTHER + '\n');
		router.write('/etc/pico-tracker/lists/c.torrent', 'x');
		router.write('/etc/pico-tracker/lists/secret', 'x');
		await withPage(server, 'list', {}, async page => {
			await page.waitForSelector('text=/cannot use this file/');
			assert.deepEqual(await page.$$eval('select option', nodes => nodes.map(n => n.value)), [ 'a.txt', 'b.list' ]);
			await page.selectOption('select', 'b.list');
			await page.waitForSelector(`text=${OTHER}`);
			await page.fill('textarea', hash(5));
			await page.click('button:text-is("Add")');
			await page.click('button:text-is("Save and apply")');
			await page.waitForSelector('text=The tracker uses the new list now.');
		});
		assert.equal(router.read('/etc/pico-tracker/lists/b.list'), `${OTHER}\n${hash(5)}\n`);
	}));

	test('sections without a list that can be edited', () => withRouter(section('none') + section('gone', "option whitelist '/etc/pico-tracker/private'") + section('far', "option whitelist '/mnt/usb/list.txt'"), async(router, server) => {
		await withPage(server, 'list', {}, async page => {
			assert.match(await page.textContent('[data-section=none]'), /tracks every torrent/);
			assert.match(await page.textContent('[data-section=gone]'), /\/etc\/pico-tracker\/private does not exist/);
			assert.match(await page.textContent('[data-section=far]'), /Edit \/mnt\/usb\/list\.txt on the router/);
			assert.equal(await page.$('textarea'), null);
		});
	}));
});

describe('rights', () => {
	test('a reader sees everything and changes nothing', () => withRouter(whitelisted, async(router, server) => {
		router.write('/etc/pico-tracker/whitelist.txt', HASH + ' # mine\n');
		await withPage(server, 'list', { session: 'reader' }, async page => {
			assert.match(await page.textContent('#view'), /mine/);
			assert.equal(await page.$('textarea, input[type=file], button'), null);
			// Nor by the API.
			const call = (object, method, args) => page.evaluate(async([ object, method, args ]) => (await (await fetch('/ubus', {
				method: 'POST', body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'call', params: [ 'reader', object, method, args ] })
			})).json()), [ object, method, args ]);
			const { result: [ , { version } ] } = await call('luci.pico-tracker', 'list', { section: 'main', file: '', offset: 0 });
			for (const [ object, method, args ] of [
				[ 'luci.pico-tracker', 'edit', { section: 'main', file: 'whitelist.txt', version, remove: [ 0 ], replace: {}, add: [] } ],
				[ 'luci.pico-tracker', 'remove', { section: 'main', file: 'a.torrent', version: '' } ],
				[ 'luci.pico-tracker', 'store', { section: 'main', file: 'a.torrent', size: 1, offset: 0, data: 'eA==' } ],
				[ 'uci', 'set', { config: 'pico-tracker', section: 'main', values: { enabled: '0' } } ],
				[ 'file', 'exec', { command: '/bin/sh' } ], [ 'file', 'read', { path: '/etc/shadow' } ], [ 'service', 'list', {} ]
			])
				assert.equal((await call(object, method, args)).error?.code, -32002, `${object} ${method}`);
		});
		await withPage(server, 'settings', { session: 'reader' }, async page => {
			assert.equal(await page.$('input:enabled, select:enabled, button:enabled'), null);
			assert.equal(await page.$('text=Save & Apply'), null);
		});
		assert.equal(router.read('/etc/pico-tracker/whitelist.txt'), HASH + ' # mine\n');
	}));

	test('a user without rights sees nothing', () => withRouter(whitelisted, async(router, server) => {
		router.write('/etc/pico-tracker/whitelist.txt', HASH + ' # mine\n');
		for (const name of [ 'status', 'settings', 'list' ])
			await withPage(server, name, { session: 'stranger', mayFail: true }, async page => {
				assert.match(await page.textContent('[role=alert]'), /Access denied/);
				assert.doesNotMatch(await page.textContent('body'), /mine/);
			});
	}));

	test('the rights are the least', () => {
		const acl = JSON.parse(readFileSync(join(app, 'root/usr/share/rpcd/acl.d/luci-app-pico-tracker.json'), 'utf8'))['luci-app-pico-tracker'];
		assert.deepEqual(acl.read, { ubus: { 'luci.pico-tracker': [ 'status', 'log', 'probe', 'list', 'directory', 'torrents' ] }, uci: [ 'pico-tracker' ] });
		assert.deepEqual(acl.write, { ubus: { 'luci.pico-tracker': [ 'edit', 'remove', 'store' ] }, uci: [ 'pico-tracker' ] });
	});
});

describe('backend', () => {
	const load = router => loadBackend(join(app, 'root/usr/share/rpcd/ucode/pico-tracker.uc'), router);
	const edit = (call, more) => call('luci.pico-tracker', 'edit', { section: 'main', file: 'whitelist.txt', version: 'missing', remove: [], replace: {}, add: [], ...more });

	test('other files of the router are out of reach', () => withRouter('', async router => {
		router.write('/etc/shadow', 'root:secret\n');
		router.write('/etc/pico-tracker/secret', 'topsecret\n');
		symlinkSync(router.path('/etc/shadow'), router.path('/etc/pico-tracker/link.txt'));
		symlinkSync(router.path('/etc'), router.path('/etc/pico-tracker/dir'));
		for (const path of [ '/etc/shadow', '/etc/pico-tracker/../shadow', '/etc/pico-tracker/link.txt', '/etc/pico-tracker/dir', '/etc/pico-tracker/secret', '/etc/pico-tracker',
			'/etc/pico-tracker/$(reboot).txt', '/etc/pico-tracker/a;b.txt', '/etc/pico-tracker/.hidden.txt' ]) {
			router.write('/etc/config/pico-tracker', section('main', `option whitelist '${path}'`));
			const call = load(router);
			for (const name of [ '', 'shadow', '../shadow', 'secret', 'link.txt', 'whitelist.txt' ]) {
				const { reply } = call('luci.pico-tracker', 'list', { section: 'main', file: name, offset: 0 });
				assert.equal(reply.text, undefined, `${path} ${name}`);
				assert.equal(edit(call, { file: name, add: [ HASH ] }).reply.error, 'file', `${path} ${name}`);
			}
		}
		assert.equal(router.read('/etc/shadow'), 'root:secret\n');
	}));

	test('a public address is no way to a file', () => withRouter('', async router => {
		const secret = 'ab'.repeat(32);
		router.write('/etc/pico-tracker/secret', secret + '\n');
		router.write('/var/run/pico-tracker-portmap/direct', '198.51.100.9\n');
		symlinkSync(router.path('/etc/pico-tracker/secret'), router.path('/var/run/pico-tracker-portmap/link'));
		router.write('/etc/config/pico-tracker', section('option', "list external_ip '/etc/pico-tracker/secret'") +
			section('link', "option port_map 'auto'") + section('direct', "option port_map 'auto'"));
		const { reply } = load(router)('luci.pico-tracker', 'status', {});
		assert.deepEqual(reply.sections.map(s => s.external), [ [], [], [ '198.51.100.9' ] ]);
	}));

	test('only .torrent files of the directory are read, stored and removed', () => withRouter(section('main', "option whitelist '/etc/pico-tracker/torrents'"), async router => {
		const directory = '/etc/pico-tracker/torrents';
		mkdirSync(router.path(directory));
		router.write('/etc/pico-tracker/secret', 'topsecret\n');
		router.write('/etc/pico-tracker/outside.torrent', 'x');
		symlinkSync(router.path('/etc/pico-tracker/secret'), router.path(directory + '/link.torrent'));
		mkdirSync(router.path(directory + '/sub.torrent'));
		const evil = `'; touch '${router.path('/marker')}'; '.torrent`.replaceAll('/', '_');
		const names = [ evil, '-version.torrent', '$(reboot).torrent', 'two\nlines.torrent', 'ü "q" \\.torrent' ];
		for (const name of names)
			writeFileSync(router.path(directory + '/' + name), file(torrent('of ' + name.length, v1)));
		const call = load(router);
		const ask = (method, args) => call('luci.pico-tracker', method, { section: 'main', ...args }).reply;
		const { files } = ask('directory', { offset: 0 });
		assert.deepEqual(files.map(f => f.file).sort(), [ ...names ].sort());
		const { torrents } = ask('torrents', { files: [ ...names, 'link.torrent', 'sub.torrent', '../outside.torrent', '../secret', '', '.torrent', 7 ] });
		for (const [ i, t ] of torrents.entries())
			if (i < names.length)
				assert.deepEqual(t.lines.map(l => l.slice(0, 40)), [ digest('sha1', torrent('of ' + names[i].length, v1)) ], names[i]);
			else
				assert.deepEqual([ t.lines, t.error ], [ [], 'missing' ]);
		assert.deepEqual(readdirSync(router.root).filter(n => /marker/.test(n)), []);

		const stored = file(torrent('stored', v1));
		const store = more => ask('store', { file: 'new.torrent', size: stored.length, offset: 0, data: stored.toString('base64'), ...more });
		for (const [ more, error ] of [
			[ { file: '../new.torrent' }, 'file' ], [ { file: '.new.torrent' }, 'file' ], [ { file: 'new.txt' }, 'file' ], [ { file: 'a\nb.torrent' }, 'file' ],
			[ { file: 'link.torrent' }, 'exists' ], [ { file: names[0] }, 'exists' ], [ { file: 'x'.repeat(300) + '.torrent' }, 'file' ],
			[ { size: 4194305 }, 'large' ], [ { size: 5 }, 'busy' ], [ { offset: 10, size: 5000 }, 'busy' ], [ { offset: -1 }, 'busy' ], [ { data: '*' }, 'busy' ], [ { data: '' }, 'busy' ],
			[ { size: 4, data: 'YWJjZA==' }, 'torrent' ]
		])
			assert.equal(store(more).error, error, JSON.stringify(more).slice(0, 80));
		assert.deepEqual(store({}), { stored: true });
		assert.deepEqual(readFileSync(router.path(directory + '/new.torrent')), stored);
		assert.deepEqual(readdirSync(router.path('/var/run/pico-tracker')), [], 'nothing is left');

		for (const [ name, error ] of [ [ '../secret', 'file' ], [ '../outside.torrent', 'file' ], [ 'link.torrent', 'changed' ], [ 'sub.torrent', 'changed' ], [ 'none.torrent', 'changed' ], [ 'new.torrent', 'changed' ] ])
			assert.equal(ask('remove', { file: name, version: '' }).error, error, name);
		const { version } = files.find(f => f.file === evil);
		assert.deepEqual(ask('remove', { file: evil, version }), { removed: true });
		assert.equal(existsSync(router.path(directory + '/' + evil)), false);
		assert.equal(router.read('/etc/pico-tracker/secret'), 'topsecret\n');

		// A section with a list file has no directory.
		router.write('/etc/config/pico-tracker', whitelisted);
		for (const [ method, args ] of [ [ 'directory', { offset: 0 } ], [ 'torrents', { files: [ 'a.torrent' ] } ], [ 'remove', { file: 'a.torrent', version: '' } ] ])
			assert.equal(ask(method, args).error, 'file', method);
		assert.equal(store({}).error, 'file');
	}));

	test('one call reads a limited number of files and bytes', () => withRouter(section('main', "option whitelist '/etc/pico-tracker/torrents'"), async router => {
		mkdirSync(router.path('/etc/pico-tracker/torrents'));
		const write = (name, bytes) => writeFileSync(router.path('/etc/pico-tracker/torrents/' + name), bytes);
		const call = load(router);
		const read = files => call('luci.pico-tracker', 'torrents', { section: 'main', files }).reply.torrents;
		const small = Array.from({ length: 60 }, (_, i) => `s${i}.torrent`);
		small.forEach(n => write(n, file(torrent(n, v1))));
		assert.equal(read(small).length, 50);
		const big = [ 'a', 'b', 'c' ].map(n => n + '.torrent');
		big.forEach(n => write(n, file(torrent(n, { length: 5, 'piece length': 16384, pieces: Buffer.alloc(1000000) }))));
		assert.deepEqual(read(big).map(t => t.file), big.slice(0, 2));
		write('huge.torrent', Buffer.alloc(8388609));
		write('alone.torrent', file(torrent('alone', { length: 5, 'piece length': 16384, pieces: Buffer.alloc(3000000) })));
		assert.deepEqual(read([ 'huge.torrent', 'alone.torrent', 'a.torrent' ]).map(t => [ t.file, t.error, t.lines.length ]), [ [ 'huge.torrent', 'large', 0 ], [ 'alone.torrent', '', 1 ] ]);
		// Each line about a file is cut.
		write('long.torrent', bencode({ 'announce-list': Array.from({ length: 100 }, (_, i) => [ 'udp://' + 'x'.repeat(900) + i ]), info: torrent('long', v1) }));
		assert.equal(read([ 'long.torrent' ])[0].lines[0].length, 1024);
		// The files of a directory come in parts.
		for (let i = 0; i < 520; i++)
			write(`t${i}.torrent`, 'x');
		const first = call('luci.pico-tracker', 'directory', { section: 'main', offset: 0 }).reply;
		const second = call('luci.pico-tracker', 'directory', { section: 'main', offset: first.next }).reply;
		assert.equal(first.files.length, 500);
		assert.equal(second.next, 0);
		assert.equal(new Set(first.files.concat(second.files).map(f => f.file)).size, 520 + 60 + 3 + 3);
	}));

	test('a line is a line', () => withRouter(whitelisted, async router => {
		const call = load(router);
		for (const line of [ 'a\nb', 'a\rb', 'a\0b', 'x'.repeat(1025) ]) {
			assert.equal(edit(call, { add: [ line ] }).reply.error, 'line');
			assert.equal(edit(call, { replace: { 0: line } }).reply.error, 'line');
		}
		assert.equal(existsSync(router.path('/etc/pico-tracker/whitelist.txt')), false);
		assert.equal(edit(call, { add: [ HASH ] }).reply.lines, 1);
		assert.equal(edit(call, { add: [ HASH ] }).reply.error, 'changed', 'the version is another now');
		assert.deepEqual(readdirSync(router.path('/etc/pico-tracker')), [ 'whitelist.txt' ], 'nothing is left');
	}));

	test('bytes that are no UTF-8 survive', () => withRouter(whitelisted, async router => {
		const before = Buffer.concat([ Buffer.from(HASH + ' # caf'), Buffer.from([ 0xe9 ]), Buffer.from('\n' + OTHER) ]);
		writeFileSync(router.path('/etc/pico-tracker/whitelist.txt'), before);
		const call = load(router);
		const { reply } = call('luci.pico-tracker', 'list', { section: 'main', file: '', offset: 0 });
		assert.equal(edit(call, { version: reply.version, add: [ hash(1) ] }).reply.lines, 3);
		assert.deepEqual(readFileSync(router.path('/etc/pico-tracker/whitelist.txt')), Buffer.concat([ before, Buffer.from('\n' + hash(1) + '\n') ]));
	}));

	test('the probe runs nothing but the tracker', () => withRouter(section('main'), async router => {
		const marker = router.path('/marker');
		pretend(router, 'main');
		router.trackers.main.process.spawnargs = [ '', '-port', `1'; touch '${marker}'; '`, '-stats', '$(touch x)' ];
		const { reply } = load(router)('luci.pico-tracker', 'probe', { section: 'main' });
		assert.match(reply.output, /port/);
		assert.equal(existsSync(marker), false);
		assert.equal(load(router)('luci.pico-tracker', 'probe', { section: 'nobody' }).reply.error, 'stopped');
	}));

	test('the tags are those of the service', () => withRouter(section('main') + section('guest', "option port '1338'"), async router => {
		const { reply } = load(router)('luci.pico-tracker', 'status', {});
		assert.deepEqual(runInit(router).programs.map(p => p.replace(/.*\//, '')), reply.sections.map(s => s.tag));
	}));

	test('the probe knows the program by the name that the service gives it', () => withRouter(section('main') + section('guest', "option port '1338'"), async router => {
		pretend(router, 'guest');
		const probe = program => {
			router.trackers.guest.program = program;
			return load(router)('luci.pico-tracker', 'probe', { section: 'guest' }).reply.error;
		};
		assert.equal(probe(runInit(router).programs[1].replace(/.*(?=\/pico-tracker-)/, '/var/run/pico-tracker')), undefined);
		assert.equal(probe('/usr/bin/pico-tracker'), undefined);
		assert.equal(probe('/bin/sh'), 'stopped');
		assert.equal(probe('/var/run/pico-tracker/pico-tracker-main'), 'stopped');
	}));

	test('arguments of another kind are refused', () => withRouter(whitelisted, async router => {
		const call = load(router);
		assert.equal(edit(call, { add: 'x' }).code, 2);
		assert.equal(edit(call, { path: '/etc/shadow' }).code, 2);
		assert.equal(call('luci.pico-tracker', 'exec', {}).code, 3);
	}));
});

describe('languages', () => {
	for (const [ language, running ] of [ [ 'de', 'Läuft' ], [ 'es', 'En ejecución' ], [ 'fr', 'En cours d’exécution' ], [ 'pt', 'Em execução' ], [ 'zh_Hans', '运行中' ] ])
		test(language, () => withRouter(whitelisted, async(router, server) => {
			pretend(router, 'main');
			router.write('/var/run/pico-tracker-stats/main.prom', statistics('pico_tracker_torrents 1234'));
			router.write('/etc/pico-tracker/whitelist.txt', 'x\ny\n');
			await withPage(server, 'status', { more: '&language=' + language }, async page => {
				assert.equal(await page.textContent('[data-figure=state]'), running);
				assert.equal(await shown(page, '[data-figure=torrents]'), 1234);
			});
			await withPage(server, 'list', { more: '&language=' + language }, async page => {
				assert.doesNotMatch(await page.textContent('#view'), /lines of the file|undefined/);
				assert.match(await page.textContent('#view'), /2/);
			});
		}));
});

describe('accessibility', () => {
	test('labels, table heads and the width of a phone', () => withRouter(whitelisted + section('second', "option port '80'"), async(router, server) => {
		router.write('/etc/pico-tracker/whitelist.txt', `${HASH} # a name\n${OTHER}\n`);
		pretend(router, 'main');
		router.write('/var/run/pico-tracker-stats/main.prom', statistics(`pico_tracker_top_torrent_peers{info_hash="${HASH}",family="ipv4",role="leecher"} 3`));
		for (const name of [ 'status', 'list' ])
			await withPage(server, name, { width: 360 }, async page => {
				const unnamed = await page.$$eval('#view input, #view select, #view textarea, #view button', nodes => nodes
					.filter(n => !(n.labels?.length || n.ariaLabel || n.textContent.trim())).map(n => n.outerHTML));
				assert.deepEqual(unnamed, []);
				assert.equal(await page.$$eval('#view table', tables => tables.filter(t => !t.querySelector('th[scope]')).length), 0, 'tables without heads');
				assert.equal(await page.$$eval('#view svg', nodes => nodes.filter(n => !n.ariaLabel && n.ariaHidden !== 'true').length), 0);
				const [ wide, narrow ] = await page.evaluate(() => [ document.documentElement.scrollWidth, innerWidth ]);
				assert.ok(wide <= narrow, `${name}: ${wide} pixels in ${narrow}`);
			});
	}));
});

// The pictures of the documents. They are made each time, and kept with
// PICO_SCREENSHOTS=1 (make luci-screenshots).
describe('screenshots', () => {
	const names = Object.fromEntries([ 'Debian 13 netinst', 'Holiday videos 2026', 'Choir recordings' ].map(name => [ createHash('sha1').update(name).digest('hex'), name ]));

	// evening is what a tracker writes on a busy evening, n intervals after the
	// first: the file of a real one, with other numbers.
	function evening(text, n) {
		const wave = (i, base) => Math.round(base * n + base / 3 * Math.sin(n / 3 + i) * Math.sqrt(n));
		const set = (name, labels, value) => {
			const line = `pico_tracker_${name}${labels ? `{${labels}}` : ''} `;
			text = text.includes('\n' + line) ? text.replace(new RegExp('\n' + line.replace(/[{}]/g, '\\$&') + '.*'), `\n${line}${value}`) : text + line + value + '\n';
		};
		text = text.replace(/build_info\{version="[^"]*"/, 'build_info{version="1.0.0"');
		set('uptime_seconds', '', 273600 + 15 * n);
		set('stats_interval_seconds', '', 15);
		set('connects_total', 'family="ipv4"', 901234 + wave(0, 420));
		set('announces_total', 'family="ipv4",result="refreshed"', 2801234 + wave(0.4, 960));
		set('scrapes_total', 'family="ipv4"', 101234 + wave(1, 210));
		set('errors_total', 'family="ipv4",action="announce",reason="access_list"', 1234 + wave(2, 40));
		set('torrents', '', 3);
		set('list_hashes', '', 3);
		set('pool_bytes', 'state="used"', 12288);
		for (const [ family, role, peers ] of [ [ 'ipv4', 'seeder', 41 ], [ 'ipv4', 'leecher', 87 ], [ 'ipv6', 'seeder', 12 ], [ 'ipv6', 'leecher', 23 ] ])
			set('peers', `family="${family}",role="${role}"`, peers);
		for (const [ i, h ] of Object.keys(names).entries()) {
			set('top_torrent_peers', `info_hash="${h}",family="ipv4",role="seeder"`, [ 25, 11, 5 ][i]);
			set('top_torrent_peers', `info_hash="${h}",family="ipv4",role="leecher"`, [ 60, 20, 7 ][i]);
			set('top_torrent_peers', `info_hash="${h}",family="ipv6",role="leecher"`, [ 15, 6, 2 ][i]);
			set('top_torrent_downloads', `info_hash="${h}"`, [ 1893, 214, 37 ][i]);
		}
		set('refused_torrent_age_seconds', `info_hash="${OTHER}"`, 40);
		return text;
	}

	test('are made, and small', () => withRouter(whitelisted, async(router, server) => {
		const { port } = await router.start('main', '-whitelist', '/etc/pico-tracker/whitelist.txt');
		const file = '/var/run/pico-tracker-stats/main.prom';
		await until('statistics', () => existsSync(router.path(file)));
		const text = router.read(file);
		router.trackers.main.process.kill('SIGKILL');
		await until('the tracker ends', () => router.trackers.main.stopped);
		pretend(router, 'main');
		router.write('/etc/pico-tracker/whitelist.txt', '# Our tracker\n' + Object.entries(names).map(([ h, name ]) => `${h} # ${name}\n`).join(''));
		router.write('/log', `Wed Nov 25 19:00:00 2026 daemon.info pico-tracker[1492]: [INFO] listening on 0.0.0.0:${1337}, receive buffer 4M\n` +
			'Wed Nov 25 19:00:00 2026 daemon.info pico-tracker[1492]: [INFO] whitelist /etc/pico-tracker/whitelist.txt: 3 torrents\n');
		assert.ok(port > 0);
		const keep = process.env.PICO_SCREENSHOTS === '1';
		const shoot = async(page, name, element) => {
			// Of a phone only what is on the screen.
			const options = keep ? { path: join(repository, 'docs', name) } : {};
			const picture = element === 'body' ? await page.screenshot(options) : await page.locator(element).screenshot(options);
			assert.ok(picture.length < 150000, `${name}: ${picture.length} bytes`);
			assert.ok(picture.length > 10000, `${name}: ${picture.length} bytes`);
		};
		for (const [ scheme, width, name ] of [ [ 'light', 900, 'luci-status.png' ], [ 'dark', 390, 'luci-phone.png' ] ])
			await withPage(server, 'status', { scheme, width, clock: true }, async page => {
				for (let n = 5; n <= 26; n++) {
					router.write(file, evening(text, n));
					const before = await page.textContent('[data-total=announces]').catch(() => '');
					await page.clock.runFor(15000);
					await until('the next figures', async() => await page.textContent('[data-total=announces]').catch(() => '') !== before);
				}
				await shoot(page, name, width > 500 ? '[data-section=main]' : 'body');
			});
		await withPage(server, 'list', { width: 900 }, async page => {
			await page.fill('textarea', `magnet:?xt=urn:btih:${HASH}&dn=Village+festival`);
			await page.click('button:text-is("Add")');
			await page.waitForSelector('text=1 torrent is ready to be saved.');
			await shoot(page, 'luci-list.png', '[data-section=main]');
		});
		await withPage(server, 'settings', { width: 900 }, async page => {
			await page.click('[role=tab]:text-is("Network")');
			await shoot(page, 'luci-settings.png', '[data-section-id=main]');
		});
	}));
});
