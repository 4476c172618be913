// Reads the .torrent files in the directory of an access list. The router
// computes the info hashes, some files in each request. A session of the browser
// remembers them until a file changes.

'use strict';
'require baseclass';
'require rpc';
'require pico-tracker.torrent as torrent';
/* globals torrent */

const callDirectory = rpc.declare({
	object: 'luci.pico-tracker',
	method: 'directory',
	params: [ 'section', 'offset' ],
	expect: { '': {} }
});

const callTorrents = rpc.declare({
	object: 'luci.pico-tracker',
	method: 'torrents',
	params: [ 'section', 'files' ],
	expect: { '': {} }
});

const BATCH = 25; // files in one request

// Cache keeps what is known of the files of one section.
const Cache = {
	key: section => 'pico-tracker.torrents.' + section,

	load(section) {
		try {
			const saved = JSON.parse(sessionStorage.getItem(this.key(section)));
			return new Map(Array.isArray(saved) ? saved : []);
		} catch {
			return new Map();
		}
	},

	save(section, files) {
		try {
			sessionStorage.setItem(this.key(section), JSON.stringify(files.filter(f => f.hashes)
				.map(({ file, version, hashes, name, error }) => [ file, { version, hashes, name, error } ])));
		} catch {
			// A browser without storage reads the files again.
		}
	}
};

// list returns the files of a directory, as far as the cache knows them.
function list(section) {
	const known = Cache.load(section), files = [];
	const part = offset => callDirectory(section, offset).then(reply => {
		for (const { file, version } of reply.files ?? []) {
			const before = known.get(file);
			files.push(before?.version === version ? { file, ...before } : { file, version, hashes: null, name: '', error: '' });
		}
		return reply.next > offset ? part(reply.next) : files;
	});
	return part(0);
}

// fill puts what the router says of a file into its entry.
function fill(entry, { version, lines, error }) {
	const found = (lines ?? []).map(torrent.parseDescription).filter(l => l);
	entry.version = version || entry.version;
	entry.hashes = found.map(l => l.hash);
	entry.name = found[0]?.name ?? '';
	entry.error = found.length ? '' : String(error || 'failed');
}

return baseclass.extend({
	// read returns the files: { file, version, hashes, name, error }. hashes is
	// null if a file was not read. show gets them after each request, and says
	// whether to go on. At most so many files are read.
	read(section, show, most) {
		return list(section).then(files => {
			const unread = files.filter(f => !f.hashes).slice(0, most);
			const next = () => {
				if (!show(files) || !unread.length)
					return files;
				return callTorrents(section, unread.slice(0, BATCH).map(f => f.file)).then(reply => {
					const replies = (reply.torrents ?? []).slice(0, unread.length);
					replies.forEach(r => fill(unread.shift(), r));
					if (!replies.length)
						unread.length = 0;
					Cache.save(section, files);
					return next();
				});
			};
			return next();
		});
	}
});
