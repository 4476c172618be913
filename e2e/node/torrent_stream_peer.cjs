// Run torrents on torrent-stream until SIGTERM: DIR PORT SOURCE...

const fs = require('fs')
const torrentStream = require('torrent-stream')

const [dir, port, ...sources] = process.argv.slice(2)

const engines = sources.map((source) => {
  const torrent = source.startsWith('magnet:') ? source : fs.readFileSync(source)
  const engine = torrentStream(torrent, { path: dir, tmp: dir + '.state', dht: false })
  // Without a selection the engine downloads nothing.
  engine.on('ready', () => engine.files.forEach((file) => file.select()))
  engine.on('idle', () => console.log('idle:', engine.infoHash))
  engine.on('error', (error) => { console.error(error); process.exit(1) })
  engine.listen(Number(port))
  return engine
})

// The process ends when the last stopped event is sent and nothing else is open.
process.on('SIGTERM', () => engines.forEach((engine) => engine.destroy()))
