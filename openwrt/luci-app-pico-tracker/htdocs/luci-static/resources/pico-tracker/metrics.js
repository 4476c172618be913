// Reads the statistics file of the tracker (Prometheus text format).
//
// The text comes from a file that may hold anything. So only lines that look
// exactly like the tracker's are used, and what they say is used as text and as
// numbers, never as markup.

'use strict';
'require baseclass';

const sampleLine = /^pico_tracker_([a-z_]+)(?:\{([^{}]*)\})? ([0-9]{1,20}(?:\.[0-9]{1,9})?)$/;
const label = /([a-z_]+)="([^"\\]*)"/g;

const Report = baseclass.extend({
	__init__(text) {
		// Without a prototype a name such as __proto__ is a name like others.
		this.metrics = Object.create(null);
		for (const line of String(text).split('\n')) {
			const found = line.match(sampleLine);
			if (!found)
				continue;
			const labels = Object.create(null);
			for (const [ , name, value ] of (found[2] || '').matchAll(label))
				labels[name] = value;
			(this.metrics[found[1]] ??= []).push({ labels, value: Number(found[3]) });
		}
	},

	// samples returns the samples of a metric whose labels have these values.
	samples(name, wanted) {
		return (this.metrics[name] ?? []).filter(s => Object.entries(wanted || {}).every(([ k, v ]) => s.labels[k] === v));
	},

	has(name, wanted) {
		return this.samples(name, wanted).length > 0;
	},

	// sum adds the samples that samples returns.
	sum(name, wanted) {
		return this.samples(name, wanted).reduce((sum, s) => sum + s.value, 0);
	},

	// label returns a label of the first sample of a metric.
	label(name, key) {
		return this.samples(name)[0]?.labels[key] ?? '';
	},

	// by adds the samples of a metric for each value of a label.
	by(name, key) {
		const sums = Object.create(null);
		for (const s of this.samples(name)) {
			const value = s.labels[key] ?? '';
			sums[value] = (sums[value] ?? 0) + s.value;
		}
		return sums;
	},

	// topTorrents returns the torrents that the tracker lists, the busiest
	// first. A tracker without this list has none.
	topTorrents() {
		const torrents = Object.create(null);
		const entry = hash => torrents[hash] ??= {
			hash, downloads: null, peers: 0, seeders: 0, leechers: 0,
			families: { ipv4: 0, ipv6: 0 }
		};
		for (const { labels, value } of this.samples('top_torrent_peers')) {
			if (!/^[0-9a-f]{40}$/.test(labels.info_hash))
				continue;
			const t = entry(labels.info_hash);
			t.peers += value;
			if (labels.role === 'seeder')
				t.seeders += value;
			else
				t.leechers += value;
			if (Object.hasOwn(t.families, labels.family))
				t.families[labels.family] += value;
		}
		for (const { labels, value } of this.samples('top_torrent_downloads'))
			if (/^[0-9a-f]{40}$/.test(labels.info_hash))
				entry(labels.info_hash).downloads = value;
		return Object.values(torrents).sort((a, b) => b.peers - a.peers || (a.hash < b.hash ? -1 : 1));
	},

	// refusedTorrents returns the torrents that the access list refused last.
	refusedTorrents() {
		return this.samples('refused_torrent_age_seconds')
			.filter(s => /^[0-9a-f]{40}$/.test(s.labels.info_hash))
			.map(s => ({ hash: s.labels.info_hash, age: s.value }))
			.sort((a, b) => a.age - b.age);
	}
});

return baseclass.extend({
	parse(text) {
		return new Report(text);
	}
});
