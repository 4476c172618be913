// Checks the options of /etc/config/pico-tracker as the tracker and its service
// check them. Each function returns true, or a sentence that says what is right.

'use strict';
'require baseclass';

// parseIPv4 returns the 32 bits of an address, or null.
function parseIPv4(value) {
	const parts = value.match(/^(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})$/);
	if (!parts || parts.slice(1).some(p => p > 255))
		return null;
	return parts.slice(1).reduce((bits, p) => bits * 256 + Number(p), 0);
}

// parseIPv6 returns the eight words of an address, or null. The browser knows
// how IPv6 addresses are written.
function parseIPv6(value) {
	let text;
	if (!/^[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*$/.test(value))
		return null;
	try {
		text = new URL('http://[' + value + ']/').hostname.slice(1, -1);
	} catch {
		return null;
	}
	const [ head, tail ] = text.split('::');
	const first = head ? head.split(':') : [];
	const last = tail ? tail.split(':') : [];
	const zeros = tail == null ? [] : Array(8 - first.length - last.length).fill('0');
	return [ ...first, ...zeros, ...last ].map(w => parseInt(w, 16));
}

function isMapped(words) {
	return words.slice(0, 5).every(w => w === 0) && words[5] === 0xffff;
}

// isPublic reports whether everybody on the internet can reach an address.
function isPublic(value) {
	const bits = parseIPv4(value);
	if (bits != null) {
		const inside = (network, length) => Math.floor(bits / 2 ** (32 - length)) === Math.floor(parseIPv4(network) / 2 ** (32 - length));
		return ![ [ '0.0.0.0', 8 ], [ '10.0.0.0', 8 ], [ '100.64.0.0', 10 ], [ '127.0.0.0', 8 ], [ '169.254.0.0', 16 ],
			[ '172.16.0.0', 12 ], [ '192.168.0.0', 16 ], [ '224.0.0.0', 3 ] ].some(([ n, l ]) => inside(n, l));
	}
	const words = parseIPv6(value);
	if (words == null)
		return false;
	const first = words[0];
	return !(words.slice(0, 6).every(w => w === 0) || isMapped(words) ||
		(first & 0xfe00) === 0xfc00 || (first & 0xff80) === 0xfe80 || (first & 0xff00) === 0xff00);
}

// isPrivate reports whether a prefix begins with a private address. words are the
// words of an IPv6 address, or null.
function isPrivate(value, words) {
	if (words)
		return (words[0] & 0xfe00) === 0x0200 || (words[0] & 0xfe00) === 0xfc00;
	return /^(10|192\.168|172\.(1[6-9]|2[0-9]|3[01])|100\.(6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7]))\./.test(value);
}

// canonical returns one spelling for each address.
function canonical(value) {
	const words = parseIPv6(value);
	return words ? words.join(':') : value;
}

function checkNumber(value, least, most) {
	if (/^[0-9]{1,9}$/.test(value) && Number(value) >= least && Number(value) <= most)
		return true;
	return _('Enter a number from %d to %d.').format(least, most);
}

// checkTime checks a time such as 15m or 1h30m.
function checkTime(value, least, most, message) {
	if (!/^[1-9][0-9]{0,8}[smh]([0-9]{1,9}[smh])*$/.test(value))
		return message;
	let sum = 0;
	for (const [ , number, unit ] of value.matchAll(/([0-9]+)([smh])/g))
		sum += Number(number) * { s: 1, m: 60, h: 3600 }[unit];
	return sum >= least && sum <= most ? true : message;
}

// checkPath checks the path of a file. The tracker runs in a jail, which gets
// the directory of the file, so the file must not be in the root directory.
function checkPath(value) {
	if (/^\/[^\s]+\/[^\s]+$/.test(value) && !/(^|\/)\.\.(\/|$)/.test(value))
		return true;
	return _('Enter an absolute path without spaces, in a directory such as /etc/pico-tracker.');
}

return baseclass.extend({
	isPublic,
	parseIPv4,
	parseIPv6,

	port(value) {
		return checkNumber(value, 1024, 65535) === true ? true
			: _('Enter a port from 1024 to 65535. The tracker does not run as root and cannot use lower ports.');
	},

	listen(value, others) {
		const words = parseIPv6(value);
		if (parseIPv4(value) == null && (words == null || isMapped(words)))
			return _('Enter an IPv4 or IPv6 address without a port, for example 192.168.1.1 or fd00::1.');
		if (others.filter(o => canonical(o) === canonical(value)).length > 1)
			return _('This address is listed twice.');
		return true;
	},

	networkName(value) {
		if (/^[0-9A-Za-z._-]{1,15}$/.test(value) && /[^0-9]/.test(value))
			return true;
		return _('Enter the name of a network or a device, for example lan or br-lan.');
	},

	// isolate checks one of the values of isolate: a network, a private prefix,
	// or none at the beginning.
	isolate(value, all, scope) {
		if (scope === 'off')
			return _('Isolation has no effect, because every peer is given to every client. Remove it, or set the choice of peers to auto.');
		if (value === 'none')
			return all[0] === 'none' ? true : _('none must be the first entry.');
		if (!value.includes('/'))
			return this.networkName(value);
		const [ , address, length ] = value.match(/^(.*)\/([0-9]{1,3})$/) ?? [ '', '', '' ];
		const [ words, bits ] = [ parseIPv6(address), Number(length) ];
		const valid = words ? bits >= 7 && bits <= 128 : parseIPv4(address) != null && bits >= 8 && bits <= 32;
		if (!length || !valid || !isPrivate(address, words))
			return _('Enter a network, or a private prefix such as 192.168.2.0/24 or fd00:2::/64.');
		return true;
	},

	portMap(value, externalIP) {
		return value === 'auto' && externalIP.length
			? _('The port mapping finds the public address. Remove the public address, or switch the mapping off.') : true;
	},

	top(value) {
		return checkNumber(value, 0, 100);
	},

	memory(value) {
		const message = _('Enter a size from 5M to 32G, for example 16M, or auto.');
		const found = value.match(/^([1-9][0-9]{0,12})([KMGkmg])$/);
		if (value === 'auto')
			return true;
		if (!found)
			return message;
		const bytes = Number(found[1]) * 1024 ** ('KMG'.indexOf(found[2].toUpperCase()) + 1);
		return bytes >= 5 * 1024 ** 2 && bytes <= 32 * 1024 ** 3 ? true : message;
	},

	interval(value) {
		return checkTime(value, 60, 7200, _('Enter a time from 1m to 2h, for example 15m or 900s.'));
	},

	statsInterval(value) {
		return checkTime(value, 1, 3600, _('Enter a time from 1s to 1h, for example 15s.'));
	},

	workers(value) {
		return checkNumber(value, 1, 64);
	},

	connectLimit(value) {
		return checkNumber(value, 0, 1000000);
	},

	scrapeLimit(value) {
		return checkNumber(value, 1, 102);
	},

	path: checkPath,

	// accessList checks the path of a whitelist or blacklist. A tracker has one
	// of them.
	accessList(value, other) {
		if (other)
			return _('Set a whitelist or a blacklist, not both.');
		return checkPath(value);
	},

	// stats checks the path of the statistics. others are the paths of the
	// other sections.
	stats(value, others) {
		if (value === 'off')
			return true;
		if (checkPath(value) !== true)
			return checkPath(value);
		if (others.includes(value))
			return _('Another section writes its statistics to this file. Each section needs a file of its own.');
		return true;
	},

	// externalIP checks one of the values of external_ip.
	externalIP(value, all, scope) {
		if (scope === 'off')
			return _('The public address has no effect, because every peer is given to every client. Remove it, or set the choice of peers to auto.');
		if (value === 'auto')
			return all.length === 1 ? true : _('Enter auto alone, or addresses.');
		const family = v => parseIPv4(v) != null ? 4 : parseIPv6(v) != null ? 6 : 0;
		if (!family(value))
			return _('Enter auto, an IPv4 address, an IPv6 address, or one of each.');
		if (!isPublic(value))
			return _('%s is a private or special address. Enter the public address of this router.').format(value);
		if (all.filter(v => family(v) === family(value)).length > 1)
			return _('Enter at most one IPv4 address and one IPv6 address.');
		return true;
	}
});
