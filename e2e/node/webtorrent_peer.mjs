// Run torrents on webtorrent until SIGTERM: DIR PORT SOURCE...

import WebTorrent from 'webtorrent'

const [dir, port, ...sources] = process.argv.slice(2)

const client = new WebTorrent({
  torrentPort: Number(port),
  maxConns: 50,
  dht: false,
  lsd: false,
  utPex: false,
  utp: false,
  natUpnp: false,
  natPmp: false,
  webSeeds: false
})
client.on('error', (error) => { console.error(error); process.exit(1) })
client.on('warning', (warning) => console.log('warning:', warning))

for (const source of sources) {
  const torrent = client.add(source, { path: dir })
  torrent.on('ready', () => console.log('ready:', torrent.name))
  torrent.on('done', () => console.log('done:', torrent.name))
  torrent.on('warning', (warning) => console.log('warning:', warning.message ?? warning))
  torrent.on('trackerAnnounce', () => console.log('announced:', torrent.infoHash))
}

process.on('SIGTERM', () => client.destroy(() => process.exit(0)))
