'use strict';
'require view';
'require form';
'require network';
'require uci';
'require tools.widgets as widgets';
'require pico-tracker.options as options';
/* globals options */

// The options, their defaults and their limits are those of the service
// (/etc/init.d/pico-tracker); a test compares them.

function asList(value) {
	return value == null || value === '' ? [] : Array.isArray(value) ? value : String(value).trim().split(/\s+/);
}

// check gives an option a function of pico-tracker.options. An empty value
// means the default.
function check(option, test) {
	option.validate = function(section_id, value) {
		return value == null || value === '' ? true : test.call(this, value, section_id);
	};
	return option;
}

// listWith returns what a list has in the form, with a value that is about to be
// added.
function listWith(option, section_id, value) {
	const list = asList(option.formvalue(section_id));
	return list.includes(value) ? list : list.concat(value);
}

// other returns what another option of the same section has in the form.
function other(option, section_id, name) {
	const sibling = option.section.children.find(o => o.option === name);
	return sibling ? sibling.formvalue(section_id) : null;
}

// statsPaths returns the statistics files of the other sections.
function statsPaths(section_id) {
	return uci.sections('pico-tracker', 'pico-tracker')
		.filter(s => s['.name'] !== section_id)
		.map(s => s.stats || '/var/run/pico-tracker-stats/%s.prom'.format(s['.name']));
}

return view.extend({
	load() {
		return Promise.all([ network.getNetworks().catch(() => []), uci.load('pico-tracker') ]);
	},

	render([ networks ]) {
		const m = new form.Map('pico-tracker', _('Pico Tracker'),
			_('Each section is a tracker of its own. Gray values are the defaults.'));

		const s = m.section(form.TypedSection, 'pico-tracker');
		s.addremove = true;
		s.anonymous = false;
		s.addbtntitle = _('Add a tracker');

		s.tab('general', _('General'));
		s.tab('network', _('Network'));
		s.tab('access', _('Access'));
		s.tab('advanced', _('Advanced'));

		let o;

		o = s.taboption('general', form.Flag, 'enabled', _('Enable'), _('Start this tracker, now and after each boot.'));
		o.rmempty = false;

		o = check(s.taboption('general', form.Value, 'port', _('UDP port'), _('The port in the address of the tracker.')), options.port);
		o.placeholder = '1337';

		o = check(s.taboption('general', form.Value, 'memory', _('Memory limit'),
			_('The most memory that the tracker uses, for example 16M. The default is an eighth of the memory of the router, at least 8M and at most 256M.')), options.memory);
		o.placeholder = 'auto';

		o = check(s.taboption('general', form.Value, 'interval', _('Announce interval'),
			_('The time between two announces of a client, from 1m to 2h.')), options.interval);
		o.placeholder = '15m';

		o = check(s.taboption('network', form.DynamicList, 'listen', _('Listen addresses'),
			_('The addresses of this router that the tracker uses. Leave it empty to use all.')),
		function(value, section_id) {
			return options.listen(value, listWith(this, section_id, value));
		});
		o.placeholder = '0.0.0.0, ::';

		o = check(s.taboption('network', form.DynamicList, 'interface', _('Interfaces'),
			_('Accept requests from these networks or devices only, for example lan or br-lan. Leave it empty to accept all.')), options.networkName);
		for (const net of networks)
			o.value(net.getName());

		o = s.taboption('network', form.ListValue, 'scope', _('Choice of peers'),
			_('Give a peer to the clients that can reach its address, or every peer to every client.'));
		o.optional = true;
		o.value('', _('Default (auto)'));
		o.value('auto', _('auto: only to clients that can reach the peer'));
		o.value('off', _('off: all peers to everybody'));

		o = check(s.taboption('network', form.DynamicList, 'external_ip', _('Public address'),
			_('Clients on the internet get the peers of your LAN with this address. auto uses the public address of this router.')),
		function(value, section_id) {
			return options.externalIP(value, listWith(this, section_id, value), other(this, section_id, 'scope'));
		});
		o.value('auto');

		o = s.taboption('network', form.ListValue, 'port_map', _('Port mapping'),
			_('Ask another router in front of this one to forward the port, and to tell its public address.'));
		o.optional = true;
		o.value('', _('Default (off)'));
		o.value('auto', _('auto: ask by PCP, NAT-PMP or UPnP'));
		o.value('off', _('off'));
		check(o, function(value, section_id) {
			return options.portMap(value, asList(other(this, section_id, 'external_ip')));
		});

		o = check(s.taboption('network', form.DynamicList, 'isolate', _('Isolated networks'),
			_('Networks that do not reach the others, for example guest: their clients get only peers of their network and public ones. Networks of VPNs are always isolated, unless the first entry is none.')),
		function(value, section_id) {
			return options.isolate(value, listWith(this, section_id, value), other(this, section_id, 'scope'));
		});
		for (const net of networks)
			o.value(net.getName());

		o = s.taboption('network', widgets.ZoneSelect, 'firewall_zone', _('Open in firewall zones'),
			_('Choose wan to serve the internet. The LAN can use the tracker without this.'));
		o.multiple = true;
		o.allowany = true;
		o.nocreate = true;

		o = s.taboption('network', form.Flag, 'notrack', _('No connection tracking'),
			_('Keep packets from these zones out of the connection table, so that many clients do not fill it.'));
		// The value is that of a box with a tick, even if it has none.
		o.validate = function(section_id) {
			return this.formvalue(section_id) === '1' && !asList(other(this, section_id, 'firewall_zone')).length
				? _('Choose a firewall zone too. Without a zone there is nothing to exclude.') : true;
		};

		o = check(s.taboption('access', form.Value, 'whitelist', _('Whitelist'),
			_('Track only the torrents in this file or directory, and refuse all others.')),
		function(value, section_id) {
			return options.accessList(value, other(this, section_id, 'blacklist'));
		});
		o.value('/etc/pico-tracker/torrents');
		o.value('/etc/pico-tracker/whitelist.txt');

		o = check(s.taboption('access', form.Value, 'blacklist', _('Blacklist'),
			_('Refuse the torrents in this file or directory, and track all others.')),
		function(value, section_id) {
			return options.accessList(value, other(this, section_id, 'whitelist'));
		});
		o.value('/etc/pico-tracker/blacklist.txt');

		o = check(s.taboption('access', form.Value, 'connect_limit', _('Connect limit'),
			_('How many connects one address and port may make in 2 minutes. 0 means no limit.')), options.connectLimit);
		o.placeholder = '10000';

		o = check(s.taboption('access', form.Value, 'scrape_limit', _('Scrape limit'),
			_('How many torrents of one scrape are answered, from 1 to 102. Use 1 in a cluster.')), options.scrapeLimit);
		o.placeholder = '102';

		o = check(s.taboption('advanced', form.Value, 'secret_file', _('Secret file'),
			_('The key of the connection IDs. The service makes it if it does not exist.')), options.path);
		o.placeholder = '/etc/pico-tracker/secret';

		o = check(s.taboption('advanced', form.Value, 'workers', _('Workers'),
			_('Sockets for each address, from 1 to 64. The default is the number of processors.')), options.workers);

		o = check(s.taboption('advanced', form.Value, 'stats', _('Statistics file'),
			_('The status page and Prometheus read it. off switches the statistics off.')),
		function(value, section_id) {
			return options.stats(value, statsPaths(section_id));
		});
		o.value('off');
		// LuCI loads all sections before it shows the first one.
		o.renderWidget = function(...args) {
			this.placeholder = '/var/run/pico-tracker-stats/%s.prom'.format(args[0]);
			return this.super('renderWidget', args);
		};

		o = check(s.taboption('advanced', form.Value, 'stats_interval', _('Statistics interval'),
			_('How often the statistics are written, from 1s to 1h.')), options.statsInterval);
		o.placeholder = '15s';

		o = check(s.taboption('advanced', form.Value, 'top', _('Torrents in the statistics'),
			_('How many of the busiest torrents the status page shows, from 0 to 100.')), options.top);
		o.placeholder = '20';

		o = s.taboption('advanced', form.ListValue, 'sandbox', _('Sandbox'),
			_('auto drops the rights that the tracker does not need while it serves.'));
		o.optional = true;
		o.value('', _('Default (auto)'));
		o.value('auto');
		o.value('off');

		s.taboption('advanced', form.Flag, 'debug', _('Log every packet'),
			_('Only to find a problem, because it fills the log.'));

		return m.render();
	}
});
