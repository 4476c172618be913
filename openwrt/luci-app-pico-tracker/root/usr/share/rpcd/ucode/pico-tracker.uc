// The backend of luci-app-pico-tracker: what the pages need and UCI cannot tell.
// Each method takes the name of a section, not a command and not a path. So a
// user of LuCI gets no right to run programs or to read files of the router.
//
// This file uses only what ucode and JavaScript have in common. The tests run
// it under node, with stand-ins for the modules and functions of ucode. In ucode
// a function must be declared before the functions that call it.

'use strict';

import { chmod, lsdir, lstat, mkdir, open, popen, readfile, rename, stat, unlink, writefile } from 'fs';
import { connect } from 'ubus';
import { cursor } from 'uci';

const PROGRAM = '/usr/bin/pico-tracker';

// The init script has the same directories.
const RUN = '/var/run/pico-tracker';
const STATS = '/var/run/pico-tracker-stats';
const ADDRESSES = '/var/run/pico-tracker-portmap';

// Only access lists in this directory can be read and edited, because the
// option may name any file of the router.
const LISTS = '/etc/pico-tracker';

const MAX_STATS = 262144; // bytes of a statistics file
const MAX_LIST = 2097152; // bytes of a list file
const CHUNK = 131072;     // bytes of a list file in one reply: ubus takes 1 MB
const MAX_LINE = 1024;    // bytes of a line that edit adds
const MAX_LOG = 500;      // lines

// The .torrent files of a directory.
const UPLOAD = RUN + '/upload';  // a file that store gets, in memory
const MAX_STORED = 4194304;      // bytes of a file that store writes
const MAX_TORRENT = 8388608;     // bytes of a file that torrents reads
const MAX_READ = 2097152;        // bytes that torrents reads in one call, except for one larger file
const MAX_FILES = 50;            // files that torrents reads in one call
const MAX_TEXT = 1024;           // bytes of a line about a file
const ENTRIES = 500;             // files in one reply of directory

const SIGHUP = 1;

function fail(reason) {
	return { error: reason };
}

// to_list converts an option or a list of UCI to an array.
function to_list(value) {
	if (value == null)
		return [];
	return type(value) == 'array' ? value : split(trim(value), /[ \t]+/);
}

// sections returns the sections of /etc/config/pico-tracker in their order.
function sections() {
	const uci = cursor();
	const all = [];
	uci.load('pico-tracker');
	uci.foreach('pico-tracker', 'pico-tracker', function(s) {
		push(all, s);
	});
	return all;
}

function find_section(name) {
	const all = sections();
	for (let i = 0; i < length(all); i++)
		if (all[i]['.name'] == name)
			return all[i];
	return null;
}

// instances returns what procd runs, by the names of the sections.
function instances() {
	const bus = connect();
	const services = bus ? bus.call('service', 'list', { name: 'pico-tracker' }) : null;
	return services?.['pico-tracker']?.instances ?? {};
}

// is_on reads a boolean option as the init script does.
function is_on(value) {
	return value == '1' || value == 'on' || value == 'true' || value == 'yes' || value == 'enabled';
}

// host_names returns the names that dynamic DNS keeps for this router.
function host_names() {
	const uci = cursor();
	const names = [];
	uci.load('ddns');
	uci.foreach('ddns', 'service', function(s) {
		const name = s.lookup_host ?? '';
		if (is_on(s.enabled) && match(name, /^[A-Za-z0-9.-]+$/) && index(names, name) < 0)
			push(names, name);
	});
	return names;
}

// wan_addresses returns the addresses of the interfaces with a default route.
function wan_addresses() {
	const bus = connect();
	const interfaces = (bus ? bus.call('network.interface', 'dump', {}) : null)?.interface ?? [];
	const found = [];
	for (let i = 0; i < length(interfaces); i++) {
		const routes = interfaces[i].route ?? [];
		for (let r = 0; r < length(routes); r++) {
			if (routes[r].mask !== 0 || routes[r].table)
				continue;
			const family = routes[r].target == '::' ? 'ipv6-address' : 'ipv4-address';
			const addresses = interfaces[i][family] ?? [];
			for (let a = 0; a < length(addresses); a++)
				if (index(found, addresses[a].address) < 0)
					push(found, addresses[a].address);
		}
	}
	return found;
}

// read_stats returns the statistics of a section as text. A file that does not
// begin like statistics is not shown: the option may name any file.
function read_stats(path) {
	const st = stat(path);
	if (!st)
		return fail('missing');
	if (st.type != 'file' || st.size > MAX_STATS)
		return fail('invalid');
	const text = readfile(path, MAX_STATS) ?? '';
	if (index(text, '# HELP pico_tracker_') != 0 || index(text, '\x00') >= 0)
		return fail('invalid');
	return { text: text, age: time() - st.mtime };
}

// external_addresses returns the public addresses of a section: the option
// external_ip. With port_map, the port mapping service writes them to a file. No
// other file is read: a secret looks like an address, because it has hex digits.
function external_addresses(section) {
	let values = to_list(section.external_ip);
	if (section.port_map == 'auto') {
		const path = ADDRESSES + '/' + section['.name'];
		values = lstat(path)?.type == 'file' ? split(readfile(path, 4096) ?? '', '\n') : [];
	}
	const found = [];
	for (let i = 0; i < length(values) && length(found) < 8; i++) {
		const value = trim(values[i]);
		if (value == 'auto' || match(value, /^(\[|\]|[0-9A-Fa-f:.])+$/))
			push(found, value);
	}
	return found;
}

// log_tag returns the tag of a section in the log. The init script gives each
// section except the first a tag of its own. procd logs at most 31 characters of it.
function log_tag(position, name) {
	return position == 0 ? 'pico-tracker' : substr('pico-tracker-' + name, 0, 31);
}

function read_line(path) {
	return trim(readfile(path, 4096) ?? '');
}

// is_list_name reports whether a file name is one of a list. The secret has
// another ending.
function is_list_name(name) {
	return match(name, /^[A-Za-z0-9][A-Za-z0-9._-]*\.(txt|list)$/) != null;
}

// is_torrent_name reports whether the tracker reads a file of this name in a
// directory as a .torrent file. Hidden files are incomplete ones.
function is_torrent_name(name) {
	return type(name) == 'string' && length(name) > 8 && length(name) <= 255 && lc(substr(name, -8)) == '.torrent' &&
		ord(name, 0) != 46 /* . */ && index(name, '/') < 0 && index(name, '\x00') < 0;
}

// locate_list describes the access list of a section: which files it has, and
// whether this page may edit them.
function locate_list(section) {
	const kind = section.whitelist ? 'whitelist' : section.blacklist ? 'blacklist' : '';
	if (!kind)
		return { kind: '' };
	const path = rtrim(section[kind], '/');
	const list = { kind: kind, path: path, editable: false, folder: false, missing: false, directory: '', files: [], torrents: 0 };
	const name = match(path, /^\/etc\/pico-tracker\/([A-Za-z0-9][A-Za-z0-9._-]*)$/)?.[1];
	if (!name)
		return list;
	const st = lstat(path);
	if (st?.type == 'directory') {
		const names = sort(lsdir(path) ?? []);
		for (let i = 0; i < length(names); i++) {
			if (is_torrent_name(names[i]))
				list.torrents++;
			else if (is_list_name(names[i]) && lstat(path + '/' + names[i])?.type == 'file')
				push(list.files, names[i]);
		}
		if (!length(list.files))
			push(list.files, 'list.txt');
		list.directory = path;
		list.folder = true;
		list.editable = true;
	} else if (is_list_name(name) && (!st || st.type == 'file')) {
		list.files = [ name ];
		list.directory = LISTS;
		list.editable = true;
	} else {
		list.missing = !st;
	}
	return list;
}

// list_file returns the path of one file of the access list of a section.
function list_file(section, file) {
	const list = locate_list(section);
	if (!list.editable)
		return null;
	for (let i = 0; i < length(list.files); i++)
		if (list.files[i] == file)
			return list.directory + '/' + file;
	return null;
}

// version_of identifies the content of a file.
function version_of(path) {
	if (!lstat(path))
		return 'missing';
	// The path has no character that means something to a shell.
	const process = popen('sha256sum ' + path, 'r');
	const line = process ? process.read('line') : null;
	if (process)
		process.close();
	return match(line ?? '', /^([0-9a-f]+) /)?.[1] ?? '';
}

// load_list reads a list file as a whole. A missing file is an empty list.
function load_list(path) {
	const before = version_of(path);
	if (before == 'missing')
		return { text: '', version: before };
	const st = lstat(path);
	if (st?.type != 'file')
		return fail('invalid');
	if (st.size > MAX_LIST)
		return fail('large');
	const text = readfile(path, MAX_LIST);
	if (text == null || before == '' || version_of(path) != before)
		return fail('busy');
	if (index(text, '\x00') >= 0)
		return fail('invalid');
	return { text: text, version: before };
}

// save_list replaces a list file, so that the tracker never sees half of it.
function save_list(path, text) {
	const temporary = path + '.new';
	unlink(temporary);
	if (writefile(temporary, text) != length(text) || lstat(temporary)?.size != length(text) ||
		!chmod(temporary, 420 /* 0644 */) || !rename(temporary, path)) {
		unlink(temporary);
		return false;
	}
	return true;
}

// reload_users has all trackers with this list read it now.
function reload_users(path) {
	const bus = connect();
	const running = instances();
	const all = sections();
	for (let i = 0; i < length(all); i++) {
		const name = all[i]['.name'];
		if (running[name]?.running && rtrim(all[i].whitelist ?? all[i].blacklist ?? '', '/') == path)
			bus.call('service', 'signal', { name: 'pico-tracker', instance: name, signal: SIGHUP });
	}
}

// is_line reports whether a string can be a line of a list.
function is_line(line) {
	if (type(line) != 'string' || length(line) > MAX_LINE)
		return false;
	for (let i = 0; i < length(line); i++)
		if (ord(line, i) < 32 && ord(line, i) != 9)
			return false;
	return true;
}

// quote makes one word for a shell.
function quote(word) {
	return "'" + join("'\\''", split(word, "'")) + "'";
}

// torrent_directory returns the directory with .torrent files of a section.
function torrent_directory(name) {
	const section = find_section(name ?? '');
	const list = section ? locate_list(section) : null;
	return list?.folder ? list.directory : null;
}

// version_of_torrent is what a .torrent file has until it changes.
function version_of_torrent(st) {
	return st.size + '-' + st.mtime;
}

// describe_torrents returns what the tracker says of files: the lines with their
// info hashes, or an error. One process reads all files. A magnet link behind
// each file marks the end of its lines: no file has such an info hash.
function describe_torrents(paths) {
	const mark = '0000000000000000000000000000000000000';
	const found = [];
	let command = 'ulimit -t 30; ' + PROGRAM + ' -hash';
	for (let i = 0; i < length(paths); i++) {
		push(found, { lines: [], error: '' });
		command = command + ' ' + quote(paths[i]) + " 'magnet:?xt=urn:btih:" + mark + substr('000' + i, -3) + "'";
	}
	const process = length(paths) ? popen(command + ' 2>&1', 'r') : null;
	if (!process)
		return found;
	let at = 0;
	for (let line = process.read('line'); length(line) && at < length(found); line = process.read('line')) {
		if (index(line, mark + substr('000' + at, -3) + ' ') == 0)
			at++;
		else if (match(line, /^([0-9a-f]{40}|[0-9a-f]{64}) # /))
			push(found[at].lines, substr(rtrim(line, '\n'), 0, MAX_TEXT));
		else if (index(line, '[ERROR] ' + paths[at] + ': ') == 0)
			found[at].error = substr(rtrim(line, '\n'), length(paths[at]) + 10, MAX_TEXT);
		else if (index(line, '[ERROR] ') == 0)
			found[at].error = substr(rtrim(line, '\n'), 8, MAX_TEXT);
	}
	process.close();
	for (let i = 0; i < length(found); i++)
		if (!length(found[i].lines) && !found[i].error)
			found[i].error = 'failed';
	return found;
}

return {
	'luci.pico-tracker': {
		// status tells the state of each section and its statistics.
		status: {
			call: function() {
				const running = instances();
				const all = sections();
				const result = [];
				for (let i = 0; i < length(all); i++) {
					const s = all[i];
					const name = s['.name'];
					const instance = running[name] ?? {};
					const file = s.stats ?? STATS + '/' + name + '.prom';
					const stats = file == 'off' ? fail('off') : read_stats(file);
					push(result, {
						name: name,
						tag: log_tag(i, name),
						enabled: is_on(s.enabled),
						running: instance.running ?? false,
						pid: instance.pid ?? 0,
						exit_code: instance.exit_code ?? -1,
						refused: instance.running ? '' : read_line(RUN + '/' + name + '.refused'),
						port: int(s.port ?? 1337),
						external: external_addresses(s),
						mapped: s.port_map == 'auto',
						restricted: length(to_list(s.interface)) > 0,
						list: locate_list(s),
						stats: stats.text ?? '',
						stats_file: file,
						stats_age: stats.age ?? 0,
						stats_error: stats.error ?? ''
					});
				}
				return { sections: result, wan: wan_addresses(), names: host_names() };
			}
		},

		// log returns the last lines that the tracker and its service logged.
		log: {
			args: { lines: 0 },
			call: function(request) {
				const wanted = min(max(request.args?.lines ?? 100, 1), MAX_LOG);
				const lines = [];
				const process = popen('/sbin/logread -e pico-tracker 2>/dev/null', 'r');
				if (!process)
					return fail('failed');
				for (let line = process.read('line'); length(line); line = process.read('line')) {
					if (!match(line, / pico-tracker[A-Za-z0-9_-]*(\[[0-9]*\]?)?: /))
						continue;
					push(lines, rtrim(line, '\n'));
					if (length(lines) > wanted)
						shift(lines);
				}
				process.close();
				return { lines: lines };
			}
		},

		// probe asks a running tracker for a connection ID, as a client
		// does. It takes milliseconds, and some seconds if the tracker hangs.
		probe: {
			args: { section: '' },
			call: function(request) {
				const section = request.args?.section ?? '';
				const instance = instances()[section];
				if (!instance?.running || index([ PROGRAM, RUN + '/pico-tracker-' + section ], instance.command?.[0]) < 0)
					return fail('stopped');
				// Where it listens, as it was started.
				let command = PROGRAM + ' -probe self';
				for (let i = 1; i + 1 < length(instance.command); i++) {
					const flag = instance.command[i];
					if (flag == '-port' || flag == '-listen' || flag == '-interface')
						command = command + ' ' + flag + ' ' + quote(instance.command[i + 1]);
				}
				const process = popen(command + ' 2>&1', 'r');
				if (!process)
					return fail('failed');
				const output = process.read('all');
				return { output: trim(output ?? ''), code: process.close() };
			}
		},

		// list returns a part of a file of the access list: whole lines from
		// an offset on. next is the offset of the rest, 0 at the end.
		list: {
			args: { section: '', file: '', offset: 0 },
			call: function(request) {
				const section = find_section(request.args?.section ?? '');
				if (!section)
					return fail('section');
				const list = locate_list(section);
				if (!list.editable)
					return { list: list };
				const file = request.args.file ? request.args.file : list.files[0];
				const path = list_file(section, file);
				if (!path)
					return fail('file');
				const loaded = load_list(path);
				if (loaded.error)
					return { list: list, file: file, error: loaded.error };
				const offset = max(request.args.offset ?? 0, 0);
				let text = substr(loaded.text, offset, CHUNK);
				let next = offset + length(text);
				if (next < length(loaded.text)) {
					const end = rindex(text, '\n');
					if (end < 0)
						return { list: list, file: file, error: 'invalid' };
					text = substr(text, 0, end + 1);
					next = offset + end + 1;
				} else {
					next = 0;
				}
				return { list: list, file: file, version: loaded.version, text: text, next: next };
			}
		},

		// edit changes a file of the access list, if it still is the version
		// that the user saw. Lines have numbers from 0 on.
		edit: {
			args: { section: '', file: '', version: '', remove: [], replace: {}, add: [] },
			call: function(request) {
				const args = request.args ?? {};
				const section = find_section(args.section ?? '');
				const path = section ? list_file(section, args.file ?? '') : null;
				if (!path)
					return fail('file');
				const remove = args.remove ?? [];
				const replace = args.replace ?? {};
				const add = args.add ?? [];
				const numbers = keys(replace);
				for (let i = 0; i < length(add); i++)
					if (!is_line(add[i]))
						return fail('line');
				for (let i = 0; i < length(numbers); i++)
					if (!is_line(replace[numbers[i]]))
						return fail('line');

				const loaded = load_list(path);
				if (loaded.error)
					return loaded;
				if (loaded.version != args.version)
					return fail('changed');
				const lines = split(loaded.text, '\n');
				// The text after the last line break is no line, if it is empty.
				if (lines[length(lines) - 1] == '')
					pop(lines);
				const gone = {};
				for (let i = 0; i < length(remove); i++)
					gone[remove[i]] = true;
				const result = [];
				for (let i = 0; i < length(lines); i++)
					if (!gone[i])
						push(result, replace[i] ?? lines[i]);
				for (let i = 0; i < length(add); i++)
					push(result, add[i]);
				const text = length(result) ? join('\n', result) + '\n' : '';
				if (length(text) > MAX_LIST)
					return fail('large');
				if (!save_list(path, text))
					return fail('write');
				reload_users(rtrim(section.whitelist ?? section.blacklist ?? '', '/'));
				return { version: version_of(path), lines: length(result) };
			}
		},

		// directory returns a part of the .torrent files in the directory of
		// an access list, without reading them. next is 0 at the end.
		directory: {
			args: { section: '', offset: 0 },
			call: function(request) {
				const directory = torrent_directory(request.args?.section);
				if (!directory)
					return fail('file');
				const all = sort(filter(lsdir(directory) ?? [], is_torrent_name));
				const files = [];
				let i = max(request.args.offset ?? 0, 0);
				for (; i < length(all) && length(files) < ENTRIES; i++) {
					const st = lstat(directory + '/' + all[i]);
					if (st?.type == 'file')
						push(files, { file: all[i], version: version_of_torrent(st) });
				}
				return { files: files, next: i < length(all) ? i : 0 };
			}
		},

		// torrents tells the info hashes and names of some of these files. It
		// reads as many as one call may, and at least one.
		torrents: {
			args: { section: '', files: [] },
			call: function(request) {
				const directory = torrent_directory(request.args?.section);
				if (!directory)
					return fail('file');
				const files = request.args.files ?? [];
				const result = [];
				const wanted = [];
				const paths = [];
				let size = 0;
				for (let i = 0; i < length(files) && length(result) < MAX_FILES; i++) {
					const st = is_torrent_name(files[i]) ? lstat(directory + '/' + files[i]) : null;
					const entry = { file: files[i], version: '', lines: [], error: '' };
					if (st?.type != 'file') {
						entry.error = 'missing';
					} else if (st.size > MAX_TORRENT) {
						entry.error = 'large';
					} else {
						if (size > 0 && size + st.size > MAX_READ)
							break;
						size += st.size;
						push(wanted, entry);
						push(paths, directory + '/' + files[i]);
					}
					if (st)
						entry.version = version_of_torrent(st);
					push(result, entry);
				}
				const found = describe_torrents(paths);
				for (let i = 0; i < length(wanted); i++) {
					wanted[i].lines = found[i].lines;
					wanted[i].error = found[i].error;
				}
				return { torrents: result };
			}
		},

		// remove deletes a .torrent file, if it still is the version that the
		// user saw.
		remove: {
			args: { section: '', file: '', version: '' },
			call: function(request) {
				const directory = torrent_directory(request.args?.section);
				const file = request.args?.file;
				if (!directory || !is_torrent_name(file))
					return fail('file');
				const st = lstat(directory + '/' + file);
				if (st?.type != 'file' || version_of_torrent(st) != request.args.version)
					return fail('changed');
				if (!unlink(directory + '/' + file))
					return fail('write');
				reload_users(directory);
				return { removed: true };
			}
		},

		// store gets a new .torrent file in parts, in base64. The whole file is
		// checked before it comes to the flash.
		store: {
			args: { section: '', file: '', size: 0, offset: 0, data: '' },
			call: function(request) {
				const args = request.args ?? {};
				const directory = torrent_directory(args.section);
				if (!directory || !is_torrent_name(args.file) || !is_line(args.file))
					return fail('file');
				const path = directory + '/' + args.file;
				if (lstat(path))
					return fail('exists');
				const data = b64dec(args.data ?? '') ?? '';
				const size = args.size ?? 0;
				const offset = args.offset ?? 0;
				if (size > MAX_STORED)
					return fail('large');
				if (!length(data) || offset < 0 || offset + length(data) > size)
					return fail('busy');
				mkdir(RUN, 493 /* 0755 */);
				if (offset == 0)
					unlink(UPLOAD);
				else if (lstat(UPLOAD)?.size !== offset)
					return fail('busy');
				const upload = open(UPLOAD, offset ? 'a' : 'w', 384 /* 0600 */);
				if (upload) {
					upload.write(data);
					upload.close();
				}
				if (lstat(UPLOAD)?.size !== offset + length(data)) {
					unlink(UPLOAD);
					return fail('memory');
				}
				if (offset + length(data) < size)
					return { stored: false };
				const error = describe_torrents([ UPLOAD ])[0].error;
				const text = readfile(UPLOAD, MAX_STORED) ?? '';
				unlink(UPLOAD);
				if (error)
					return fail('torrent');
				if (length(text) != size || !save_list(path, text))
					return fail('write');
				reload_users(directory);
				return { stored: true };
			}
		}
	}
};
