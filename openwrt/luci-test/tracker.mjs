// Starts a real tracker for the tests, and is its client.

import { spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const program = process.env.PICO_TRACKER;
if (!program)
	throw new Error('PICO_TRACKER is not set: start the tests with openwrt/luci-test/run');

// until waits for a condition that becomes true.
export async function until(what, condition, seconds = 15) {
	const end = Date.now() + 1000 * seconds;
	for (;;) {
		const value = await condition();
		if (value)
			return value;
		if (Date.now() > end)
			throw new Error(`timeout: ${what}`);
		await new Promise(resolve => setTimeout(resolve, 50));
	}
}

// Router is a directory with the files of a router, and the trackers that run
// on it.
export class Router {
	constructor() {
		this.root = mkdtempSync(join(tmpdir(), 'pico-tracker-luci-'));
		for (const directory of [ 'etc/config', 'etc/pico-tracker', 'var/run/pico-tracker', 'var/run/pico-tracker-stats', 'var/run/pico-tracker-portmap' ])
			mkdirSync(join(this.root, directory), { recursive: true });
		this.write('/log', '');
		this.write('/etc/config/pico-tracker', '');
		this.trackers = {};
		this.program = program;
	}

	path(name) {
		return join(this.root, name);
	}

	write(name, text) {
		writeFileSync(this.path(name), text);
	}

	read(name) {
		return readFileSync(this.path(name), 'utf8');
	}

	// start runs a tracker as the service of a section, on a port of its own.
	async start(section, ...flags) {
		const port = await freePort();
		const stats = `/var/run/pico-tracker-stats/${section}.prom`;
		const process = spawn(program, [ '-port', String(port), '-listen', '127.0.0.1,[::1]', '-memory', '16M', '-connect-limit', '0',
			'-stats', this.path(stats), '-stats-interval', '1s', ...flags.map(f => f.startsWith('/') ? this.path(f) : f) ], { stdio: [ 'ignore', 'pipe', 'pipe' ] });
		const tracker = { process, port, log: '', stopped: false };
		for (const stream of [ process.stdout, process.stderr ])
			stream.on('data', part => { tracker.log += part; });
		process.on('exit', code => { tracker.stopped = true; tracker.code = code; });
		this.trackers[section] = tracker;
		await until(`${section} listens`, () => {
			if (tracker.stopped)
				throw new Error(`the tracker ended: ${tracker.log}`);
			return /listening/.test(tracker.log);
		});
		return tracker;
	}

	// services answers as procd.
	services = () => ({
		'pico-tracker': {
			instances: Object.fromEntries(Object.entries(this.trackers).map(([ name, t ]) => [ name, {
				running: !t.stopped, pid: t.process.pid, exit_code: t.code ?? undefined,
				command: [ t.program ?? '/usr/bin/pico-tracker', ...t.process.spawnargs.slice(1) ]
			} ]))
		}
	});

	signal = (instance, number) => {
		this.trackers[instance].process.kill(number);
		return {};
	};

	async close() {
		for (const t of Object.values(this.trackers).filter(t => !t.pretended)) {
			t.process.kill('SIGKILL');
			await until('the tracker ends', () => t.stopped);
		}
		rmSync(this.root, { recursive: true });
	}
}

function freePort() {
	return new Promise((resolve, reject) => {
		const socket = createSocket('udp6');
		socket.on('error', reject);
		socket.bind(0, '::', () => {
			const { port } = socket.address();
			socket.close(() => resolve(port));
		});
	});
}

// Client speaks BEP 15 from one socket.
export class Client {
	constructor(address, port) {
		this.socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
		this.socket.connect(port, address);
		this.waiting = new Map();
		this.ready = new Promise(resolve => this.socket.on('connect', resolve));
		this.socket.on('message', reply => this.waiting.get(reply.readUInt32BE(4))?.(reply));
		this.transaction = 1;
	}

	ask(id, action, body) {
		const head = Buffer.alloc(16);
		id.copy(head);
		head.writeUInt32BE(action, 8);
		head.writeUInt32BE(++this.transaction, 12);
		const reply = new Promise((resolve, reject) => {
			const timer = setTimeout(() => reject(new Error('the tracker does not answer')), 5000);
			this.waiting.set(this.transaction, message => { clearTimeout(timer); resolve(message); });
		});
		this.socket.send(Buffer.concat([ head, body ]));
		return reply;
	}

	async connect() {
		await this.ready;
		this.id = (await this.ask(Buffer.from('0000041727101980', 'hex'), 0, Buffer.alloc(0))).subarray(8, 16);
	}

	// announce returns '' or the error of the tracker.
	async announce(hash, port, left) {
		const body = Buffer.alloc(82);
		Buffer.from(hash, 'hex').copy(body);
		body.write(`-TE0001-${String(port).padStart(12, '0')}`, 20, 'latin1');
		body.writeUInt32BE(left, 52);
		body.writeUInt32BE(2, 64); // started
		body.writeInt32BE(-1, 76);
		body.writeUInt16BE(port, 80);
		const reply = await this.ask(this.id, 1, body);
		return reply.readUInt32BE(0) === 3 ? reply.subarray(8).toString() : '';
	}

	// scrape asks for the counts of a torrent.
	async scrape(hash) {
		const reply = await this.ask(this.id, 2, Buffer.from(hash, 'hex'));
		return { seeders: reply.readUInt32BE(8), leechers: reply.readUInt32BE(16) };
	}

	close() {
		this.socket.close();
	}
}
