// A small stand-in for the part of LuCI that runs in the browser: as much of its
// modules as the views of this app use. It was written for the tests, after the
// documentation of LuCI.
//
// It keeps to LuCI where a mistake in a view could hide: E() and dom.content()
// take a bare string for HTML and a string in an array for text, a form parses
// and checks its options as LuCI does, and every request goes to /ubus.

'use strict';

(() => {
	const env = window.luciEnvironment;

	// ---- texts

	String.prototype.format = function(...args) {
		const escaped = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&#34;', "'": '&#39;' };
		return this.replace(/%(?:\.([0-9]+))?([sdfhx%])/g, (all, precision, kind) => {
			if (kind === '%')
				return '%';
			const value = args.shift();
			switch (kind) {
			case 'd': return String(Math.floor(Number(value)) || 0);
			case 'f': return Number(value).toFixed(precision ?? 6);
			case 'x': return Number(value).toString(16);
			case 'h': return String(value).replace(/[&<>"']/g, c => escaped[c]);
			default: return String(value);
			}
		});
	};

	const translations = env.translations;
	window._ = text => translations[text]?.[0] ?? text;
	window.N_ = (n, one, many) => {
		const forms = translations[one];
		return forms ? forms[Math.min(env.plural(n), forms.length - 1)] : n === 1 ? one : many;
	};

	// ---- classes

	class Base {
		constructor(...args) {
			this.__init__(...args);
		}

		__init__() {}

		super(key, args) {
			// The next method of that name above the one that is running.
			const running = (this.__super ??= {})[key] ?? this;
			let proto = running;
			while (proto && !Object.hasOwn(proto, key))
				proto = Object.getPrototypeOf(proto);
			proto = Object.getPrototypeOf(proto);
			while (proto && !Object.hasOwn(proto, key))
				proto = Object.getPrototypeOf(proto);
			this.__super[key] = proto;
			try {
				return proto[key].apply(this, args);
			} finally {
				this.__super[key] = running === this ? undefined : running;
			}
		}

		static extend(properties) {
			const derived = class extends this {};
			Object.assign(derived.prototype, properties);
			return derived;
		}
	}

	// ---- dom

	const dom = {
		elem: node => node instanceof Node,

		append(node, children) {
			if (Array.isArray(children)) {
				for (const child of children)
					if (dom.elem(child))
						node.appendChild(child);
					else if (child !== null && child !== undefined)
						node.appendChild(document.createTextNode(String(child)));
			} else if (typeof children === 'function') {
				dom.append(node, children(node));
			} else if (dom.elem(children)) {
				node.appendChild(children);
			} else if (children !== null && children !== undefined) {
				node.innerHTML = String(children); // as LuCI does
			}
			return node.lastChild;
		},

		content(node, children) {
			node.replaceChildren();
			return dom.append(node, children);
		},

		create(tag, attributes, children) {
			if (dom.elem(attributes))
				throw new Error('E(): a node where the attributes belong');
			if (Array.isArray(tag))
				return tag.reduce((f, n) => { dom.append(f, [ n ]); return f; }, document.createDocumentFragment());
			const node = document.createElement(tag);
			if (!(attributes instanceof Object) || Array.isArray(attributes))
				[ attributes, children ] = [ {}, attributes ];
			for (const [ key, value ] of Object.entries(attributes)) {
				if (value === null || value === undefined)
					continue;
				if (typeof value === 'function')
					node.addEventListener(key, value);
				else
					node.setAttribute(key, typeof value === 'object' ? JSON.stringify(value) : value);
			}
			dom.append(node, children);
			return node;
		}
	};
	window.E = dom.create;

	// ---- polling: a step each second, and no look at whether the page is seen

	const poll = {
		queue: [],

		add(fn, interval) {
			if (typeof fn !== 'function' || isNaN(interval))
				throw new TypeError('poll.add');
			if (poll.queue.some(e => e.fn === fn))
				return false;
			poll.queue.push({ fn, interval: interval >>> 0, ready: true, tick: 0 });
			poll.timer ??= setInterval(poll.step, 1000);
			return true;
		},

		remove(fn) {
			const before = poll.queue.length;
			poll.queue = poll.queue.filter(e => e.fn !== fn);
			return poll.queue.length !== before;
		},

		step() {
			for (const e of poll.queue)
				if (++e.tick % e.interval === 0 && e.ready) {
					e.ready = false;
					Promise.resolve(e.fn()).finally(() => { e.ready = true; });
				}
		}
	};

	// ---- requests

	let requests = 0;

	async function ubus(object, method, args) {
		const reply = await fetch('/ubus', {
			method: 'POST',
			headers: { 'Content-Type': 'application/json' },
			body: JSON.stringify({ jsonrpc: '2.0', id: ++requests, method: 'call', params: [ env.session, object, method, args ] })
		});
		if (!reply.ok)
			throw new Error('RPC call to %s/%s failed with HTTP error %d'.format(object, method, reply.status));
		const message = await reply.json();
		if (message.error)
			throw new Error('RPC call to %s/%s failed with error %d: %s'.format(object, method, message.error.code, message.error.message));
		return message.result.length > 1 ? message.result[1] : message.result[0];
	}

	const rpc = {
		declare: ({ object, method, params, expect }) => async(...values) => {
			const args = {};
			(params ?? []).forEach((name, i) => { args[name] = values[i]; });
			let result = await ubus(object, method, args);
			for (const key of Object.keys(expect ?? {})) {
				if (result !== null && result !== undefined && key !== '')
					result = result[key];
				if (Object.prototype.toString.call(result) !== Object.prototype.toString.call(expect[key]))
					result = expect[key];
			}
			return result;
		}
	};

	// ---- UCI: what was loaded, and what was changed since

	const uci = {
		configs: {},

		async load(config) {
			if (!uci.configs[config])
				uci.configs[config] = { values: (await ubus('uci', 'get', { config })).values, changes: [] };
		},

		sections(config, type) {
			return Object.values(uci.configs[config]?.values ?? {}).filter(s => !type || s['.type'] === type)
				.sort((a, b) => a['.index'] - b['.index']);
		},

		get: (config, section, option) => uci.configs[config].values[section]?.[option],

		set(config, section, option, value) {
			uci.configs[config].values[section][option] = value;
			uci.configs[config].changes.push([ 'set', { config, section, values: { [option]: value } } ]);
		},

		unset(config, section, option) {
			if (uci.configs[config].values[section][option] === undefined)
				return;
			delete uci.configs[config].values[section][option];
			uci.configs[config].changes.push([ 'delete', { config, section, options: [ option ] } ]);
		},

		add(config, type, name) {
			const index = Object.keys(uci.configs[config].values).length;
			uci.configs[config].values[name] = { '.type': type, '.name': name, '.index': index };
			uci.configs[config].changes.push([ 'add', { config, type, name } ]);
		},

		remove(config, section) {
			delete uci.configs[config].values[section];
			uci.configs[config].changes.push([ 'delete', { config, section } ]);
		},

		async save() {
			for (const config of Object.values(uci.configs)) {
				for (const [ method, args ] of config.changes)
					await ubus('uci', method, args);
				config.changes = [];
			}
		},

		apply: () => ubus('uci', 'apply', {})
	};

	// ---- the page around a view

	const ui = {
		showModal(title, children) {
			ui.hideModal();
			const box = dom.create('div', { 'class': 'modal', 'role': 'dialog', 'aria-modal': 'true', 'aria-label': title });
			dom.append(box, dom.create('h4', {}, [ title ]));
			dom.append(box, children);
			const overlay = dom.create('div', { 'id': 'modal_overlay' }, [ box ]);
			document.body.append(overlay);
			return box;
		},

		hideModal() {
			document.getElementById('modal_overlay')?.remove();
		},

		addNotification(title, children, ...classes) {
			const box = dom.create('div', { 'class': [ 'alert-message', ...classes ].join(' '), 'role': 'alert' });
			if (title)
				dom.append(box, dom.create('h4', {}, [ title ]));
			dom.append(box, children);
			document.getElementById('maincontent').prepend(box);
			return box;
		}
	};

	const view = Base.extend({
		async show(node) {
			try {
				dom.content(node, await this.render(await this.load()));
				dom.append(node, this.footer());
			} catch (error) {
				dom.content(node, dom.create('p', { 'class': 'alert-message error', 'role': 'alert' }, [ error.message ]));
				throw error;
			} finally {
				document.body.dataset.ready = 'yes';
			}
		},

		load() {},

		maps: () => form.Map.all,

		async handleSave() {
			document.querySelectorAll('.alert-message').forEach(n => n.remove());
			for (const map of this.maps())
				await map.save();
		},

		async handleSaveApply() {
			await this.handleSave();
			await uci.apply();
			ui.addNotification(null, [ 'Configuration applied.' ], 'notice');
		},

		handleReset() {
			location.reload();
		},

		footer() {
			if (!this.handleSave && !this.handleSaveApply || !this.maps().length || !L.hasViewPermission())
				return null;
			const button = (kind, title, handler) => dom.create('button', {
				'class': 'btn cbi-button cbi-button-' + kind, 'type': 'button',
				'click': () => handler.call(this).catch(e => ui.addNotification('Save error', [ dom.create('p', {}, [ e.message ]) ], 'error'))
			}, [ title ]);
			return dom.create('div', { 'class': 'cbi-page-actions' }, [
				button('apply important', _('Save & Apply'), this.handleSaveApply), ' ',
				button('save', _('Save'), this.handleSave)
			]);
		}
	});

	// ---- forms

	const asList = value => value === null || value === undefined || value === '' ? [] : Array.isArray(value) ? value : String(value).split(/\s+/);
	const isEmpty = value => value === null || value === undefined || value === '' || Array.isArray(value) && !value.length;

	const Value = Base.extend({
		__init__(section, option, title, description) {
			Object.assign(this, { section, map: section.map, option, title, description, rmempty: true, optional: false, choices: [], data: {}, widgets: {}, errors: {} });
		},

		value(value, title) {
			this.choices.push([ value, title ?? value ]);
		},

		cbid(section_id) {
			return 'cbid.%s.%s.%s'.format(this.map.config, section_id, this.option);
		},

		load(section_id) {
			return uci.get(this.map.config, section_id, this.option);
		},

		cfgvalue(section_id) {
			return this.data[section_id];
		},

		formvalue(section_id) {
			return this.read(this.widgets[section_id]);
		},

		validate: () => true,

		checkedValue(section_id) {
			return this.formvalue(section_id);
		},

		isValid(section_id) {
			let message = true;
			const value = this.checkedValue(section_id);
			for (const one of Array.isArray(value) ? value : [ value ])
				if (message === true)
					message = this.validate(section_id, one ?? '');
			this.errors[section_id] = message === true ? '' : message;
			const field = document.getElementById('field.' + this.cbid(section_id));
			field?.classList.toggle('cbi-value-error', message !== true);
			field?.querySelector('.cbi-value-problem').replaceChildren(message === true ? '' : message);
			this.widgets[section_id].querySelectorAll('input, select').forEach(n => n.setAttribute('aria-invalid', message !== true));
			return message === true;
		},

		parse(section_id) {
			if (!this.isValid(section_id))
				throw new TypeError('Option "%s" contains an invalid input value. %s'.format(this.title, this.errors[section_id]));
			const value = this.formvalue(section_id);
			if (isEmpty(value)) {
				if (!this.rmempty && !this.optional)
					throw new TypeError('Option "%s" must not be empty.'.format(this.title));
				uci.unset(this.map.config, section_id, this.option);
			} else if (JSON.stringify(value) !== JSON.stringify(this.cfgvalue(section_id))) {
				uci.set(this.map.config, section_id, this.option, value);
			}
		},

		input(section_id, value, id) {
			const node = dom.create('input', { 'type': 'text', 'class': 'cbi-input-text', 'value': value ?? '', 'placeholder': this.placeholder, 'id': id, 'change': () => this.isValid(section_id) });
			if (this.choices.length) {
				const list = dom.create('datalist', { 'id': 'choices.' + this.cbid(section_id) }, this.choices.map(([ v, t ]) => dom.create('option', { 'value': v }, [ t ])));
				node.setAttribute('list', list.id);
				return dom.create('span', {}, [ node, list ]);
			}
			return node;
		},

		renderWidget(section_id) {
			return dom.create('div', {}, [ this.input(section_id, this.cfgvalue(section_id), 'widget.' + this.cbid(section_id)) ]);
		},

		read: node => node.querySelector('input').value,

		render(section_id) {
			const widget = this.widgets[section_id] = this.renderWidget(section_id);
			if (this.map.readonly)
				widget.querySelectorAll('input, select, button').forEach(n => { n.disabled = true; });
			return dom.create('div', { 'class': 'cbi-value', 'data-option': this.option, 'id': 'field.' + this.cbid(section_id) }, [
				dom.create('label', { 'class': 'cbi-value-title', 'for': 'widget.' + this.cbid(section_id) }, [ this.title ]),
				dom.create('div', { 'class': 'cbi-value-field' }, [
					widget,
					dom.create('div', { 'class': 'cbi-value-problem', 'role': 'alert' }),
					dom.create('div', { 'class': 'cbi-value-description' }, [ this.description ])
				])
			]);
		}
	});

	const Flag = Value.extend({
		renderWidget(section_id) {
			const on = asList(this.cfgvalue(section_id))[0] === '1';
			const box = dom.create('input', { 'type': 'checkbox', 'id': 'widget.' + this.cbid(section_id), 'change': () => this.isValid(section_id) });
			box.checked = on;
			return dom.create('div', {}, [ box ]);
		},

		// As in LuCI, which checks the value attribute of the box.
		checkedValue: () => '1',

		read: node => node.querySelector('input').checked ? '1' : '0',

		parse(section_id) {
			if (!this.isValid(section_id))
				throw new TypeError('Option "%s" contains an invalid input value. %s'.format(this.title, this.errors[section_id]));
			const value = this.formvalue(section_id);
			if (value === '0' && this.rmempty)
				uci.unset(this.map.config, section_id, this.option);
			else if (value !== this.cfgvalue(section_id))
				uci.set(this.map.config, section_id, this.option, value);
		}
	});

	const ListValue = Value.extend({
		renderWidget(section_id) {
			const select = dom.create('select', { 'class': 'cbi-input-select', 'id': 'widget.' + this.cbid(section_id), 'change': () => this.isValid(section_id) },
				this.choices.map(([ v, t ]) => dom.create('option', { 'value': v }, [ t ])));
			select.value = this.cfgvalue(section_id) ?? '';
			return dom.create('div', {}, [ select ]);
		},

		read: node => node.querySelector('select').value
	});

	const DynamicList = Value.extend({
		renderWidget(section_id) {
			const list = dom.create('div', { 'class': 'cbi-dynlist' });
			const add = (value, id) => {
				const row = dom.create('div', { 'class': 'item' }, [
					this.input(section_id, value, id), ' ',
					dom.create('button', { 'class': 'btn cbi-button', 'type': 'button', 'aria-label': _('Delete'), 'click': () => { row.remove(); this.isValid(section_id); } }, [ '×' ])
				]);
				list.append(row);
			};
			asList(this.cfgvalue(section_id)).forEach(v => add(v));
			add('', 'widget.' + this.cbid(section_id));
			list.append(dom.create('button', { 'class': 'btn cbi-button add', 'type': 'button', 'aria-label': _('Add'), 'click': () => add('') }, [ '+' ]));
			return list;
		},

		read: node => Array.from(node.querySelectorAll('input')).map(n => n.value).filter(v => v !== '')
	});

	// Choices, of which several may be taken.
	const MultiSelect = Value.extend({
		renderWidget(section_id) {
			const taken = asList(this.cfgvalue(section_id));
			return dom.create('div', { 'class': 'cbi-dropdown' }, this.names().map(name => {
				const box = dom.create('input', { 'type': 'checkbox', 'value': name, 'change': () => this.isValid(section_id) });
				box.checked = taken.includes(name);
				return dom.create('label', { 'class': 'zonebadge' }, [ box, ' ', name ]);
			}));
		},

		read: node => Array.from(node.querySelectorAll('input')).filter(n => n.checked).map(n => n.value)
	});

	const ZoneSelect = MultiSelect.extend({
		names: () => [ 'lan', 'wan', 'guest' ]
	});

	const TypedSection = Base.extend({
		__init__(map, type) {
			Object.assign(this, { map, type, tabs: [], children: [] });
		},

		tab(name, title) {
			this.tabs.push({ name, title });
		},

		taboption(tab, kind, ...args) {
			const option = new kind(this, ...args);
			option.tab = tab;
			this.children.push(option);
			return option;
		},

		cfgsections() {
			return uci.sections(this.map.config, this.type).map(s => s['.name']);
		},

		async load() {
			for (const section_id of this.cfgsections())
				for (const option of this.children)
					option.data[section_id] = await option.load(section_id);
		},

		renderSection(section_id) {
			const panes = this.tabs.map(({ name }, i) => dom.create('div', {
				'data-tab': name, 'role': 'tabpanel', 'class': i ? 'hidden' : '', 'id': 'pane.%s.%s'.format(section_id, name)
			}, this.children.filter(o => o.tab === name).map(o => o.render(section_id))));
			const buttons = this.tabs.map(({ name, title }, i) => dom.create('li', { 'class': i ? 'cbi-tab-disabled' : 'cbi-tab', 'data-tab': name, 'role': 'presentation' }, [
				dom.create('a', { 'href': '#', 'role': 'tab', 'click': ev => {
					ev.preventDefault();
					panes.forEach(p => p.classList.toggle('hidden', p.dataset.tab !== name));
					buttons.forEach(b => { b.className = b.dataset.tab === name ? 'cbi-tab' : 'cbi-tab-disabled'; });
				} }, [ title ])
			]));
			const remove = this.addremove && !this.map.readonly ? dom.create('div', { 'class': 'cbi-section-remove right' }, [
				dom.create('button', { 'class': 'btn cbi-button', 'type': 'button', 'click': () => { uci.remove(this.map.config, section_id); return this.map.redraw(); } }, [ _('Delete') ])
			]) : null;
			return dom.create('div', { 'class': 'cbi-section-node', 'data-section-id': section_id }, [
				remove, dom.create('h3', {}, [ section_id ]),
				dom.create('ul', { 'class': 'cbi-tabmenu', 'role': 'tablist' }, buttons), ...panes
			]);
		},

		render() {
			const node = dom.create('div', { 'class': 'cbi-section' }, this.cfgsections().map(id => this.renderSection(id)));
			if (this.addremove && !this.map.readonly) {
				const name = dom.create('input', { 'type': 'text', 'class': 'cbi-section-create-name', 'aria-label': _('Name') });
				node.append(dom.create('div', { 'class': 'cbi-section-create' }, [ name, ' ', dom.create('button', {
					'class': 'btn cbi-button cbi-button-add', 'type': 'button',
					'click': () => {
						if (!/^[A-Za-z0-9_]+$/.test(name.value))
							return null;
						uci.add(this.map.config, this.type, name.value);
						return this.map.redraw();
					}
				}, [ this.addbtntitle ?? _('Add') ]) ]));
			}
			return node;
		}
	});

	const FormMap = Base.extend({
		__init__(config, title, description) {
			Object.assign(this, { config, title, description, children: [], readonly: !L.hasViewPermission() });
			FormMap.all.push(this);
		},

		section(kind, ...args) {
			const section = new kind(this, ...args);
			this.children.push(section);
			return section;
		},

		async render() {
			await uci.load(this.config);
			this.root = dom.create('div', { 'class': 'cbi-map' });
			await this.redraw();
			return this.root;
		},

		async redraw() {
			for (const section of this.children)
				await section.load();
			dom.content(this.root, [
				dom.create('h2', {}, [ this.title ]), dom.create('div', { 'class': 'cbi-map-descr' }, [ this.description ]),
				...this.children.map(s => s.render())
			]);
		},

		async save() {
			for (const section of this.children)
				for (const section_id of section.cfgsections())
					for (const option of section.children)
						option.parse(section_id);
			await uci.save();
			await this.redraw();
		}
	});
	FormMap.all = [];

	const form = { Map: FormMap, TypedSection, Value, Flag, ListValue, DynamicList };

	// ---- networks

	const network = {
		getNetworks: async() => (await ubus('network.interface', 'dump', {})).interface.map(i => ({ getName: () => i.interface }))
	};

	// ---- modules

	const modules = { baseclass: Base, dom, form, network, poll, rpc, uci, ui, view, 'tools.widgets': { ZoneSelect } };

	async function load(name) {
		if (modules[name])
			return modules[name];
		const reply = await fetch('/luci-static/resources/%s.js'.format(name.replace(/\./g, '/')));
		if (!reply.ok)
			throw new Error('HTTP error %d while loading class file "%s"'.format(reply.status, name));
		const source = await reply.text();
		const names = [], instances = [];
		// Directives only: strings that stand alone before the first statement.
		const head = source.replace(/\/\/.*|\/\*[^]*?\*\//g, '').match(/^(?:\s*'[^']*';)*/)[0];
		for (const [ , path, , as ] of head.matchAll(/'require[ \t]+([^'\s]+)([ \t]+as[ \t]+([A-Za-z_][^'\s]*))?'/g)) {
			names.push(as ?? path.replace(/[^a-zA-Z0-9_]/g, '_'));
			instances.push(await load(path));
		}
		const factory = new Function('window', 'document', 'L', ...names, source + '\n//# sourceURL=/luci-static/resources/' + name.replace(/\./g, '/') + '.js');
		const type = factory(window, document, L, ...instances);
		if (!(type.prototype instanceof Base))
			throw new TypeError('"%s" factory yields invalid constructor'.format(name));
		return modules[name] = new type();
	}

	window.L = {
		env,
		url: path => '/cgi-bin/luci/' + path,
		hasViewPermission: () => env.writable,
		require: load
	};

	document.addEventListener('DOMContentLoaded', async() => {
		(await load('view.' + env.view.replace(/\//g, '.'))).show(document.getElementById('view'));
	});
})();
