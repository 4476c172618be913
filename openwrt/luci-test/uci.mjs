// Reads and writes the text form of UCI, as far as the tests need it.

export function parse(text) {
	const sections = [];
	for (const line of text.split('\n')) {
		const [ kind, ...words ] = Array.from(line.trim().matchAll(/'([^']*)'|"([^"]*)"|([^\s'"]+)/g), m => m[1] ?? m[2] ?? m[3]);
		const section = sections[sections.length - 1];
		if (kind === 'config')
			sections.push({ '.type': words[0], '.name': words[1], '.index': sections.length });
		else if (kind === 'option')
			section[words[0]] = words[1];
		else if (kind === 'list')
			(section[words[0]] ??= []).push(words[1]);
	}
	return sections;
}

export function format(sections) {
	let text = '';
	for (const section of sections) {
		text += `\nconfig ${section['.type']} '${section['.name']}'\n`;
		for (const [ name, value ] of Object.entries(section)) {
			if (name.startsWith('.'))
				continue;
			for (const one of Array.isArray(value) ? value : [ value ])
				if (/['\n]/.test(one))
					throw new Error(`a value that the tests do not write: ${one}`);
			text += Array.isArray(value) ? value.map(v => `\tlist ${name} '${v}'\n`).join('') : `\toption ${name} '${value}'\n`;
		}
	}
	return text;
}
