"""Run torrents on libtorrent until SIGTERM, and print every alert.

Lines on standard input are what a user would click:
    announce        ask the trackers again now
    upload RATE     limit the upload to RATE bytes a second; 0 is no limit
"""

import argparse
import signal
import sys
import threading
import time

import libtorrent as lt


def obey(torrents):
    for line in sys.stdin:
        verb, *rest = line.split()
        print("told:", verb, *rest, flush=True)
        for torrent in torrents:
            if verb == "announce":
                torrent.force_reannounce(0, -1, lt.reannounce_flags_t.ignore_min_interval)
            elif verb == "upload":
                torrent.set_upload_limit(int(rest[0]))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--torrent", action="append", default=[], help="a .torrent file or a magnet link")
    parser.add_argument("--dir", required=True)
    parser.add_argument("--listen", required=True)
    parser.add_argument("--upload", type=int, default=0)
    parser.add_argument("more", nargs="*", help="other torrents")
    args = parser.parse_args()

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())

    session = lt.session({
        "listen_interfaces": args.listen,
        "enable_dht": False,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        # Not every client here speaks uTP, and trying it first takes seconds.
        "enable_outgoing_utp": False,
        "enable_incoming_utp": False,
        # A torrent with a tracker for each address family announces to both.
        "announce_to_all_tiers": True,
        # The default would stretch the tracker's interval to five minutes.
        "min_announce_interval": 60,
        "alert_mask": lt.alert.category_t.error_notification
        | lt.alert.category_t.status_notification
        | lt.alert.category_t.tracker_notification
        | lt.alert.category_t.connect_notification,
    })

    def alerts():
        session.wait_for_alert(200)
        for alert in session.pop_alerts():
            print(f"{alert.what()}: {alert.message()}", flush=True)
            yield alert

    torrents = []
    for source in [*args.torrent, *args.more]:
        if source.startswith("magnet:"):
            params = lt.parse_magnet_uri(source)
        else:
            params = lt.add_torrent_params()
            params.ti = lt.torrent_info(source)
        params.save_path = args.dir
        params.upload_limit = args.upload
        params.flags &= ~lt.torrent_flags.auto_managed
        params.flags &= ~lt.torrent_flags.paused
        torrents.append(session.add_torrent(params))
    threading.Thread(target=obey, args=(torrents,), daemon=True).start()

    while not stop.is_set():
        for _ in alerts():
            pass

    # A session that is taken down may be gone before its goodbye is out. A pause
    # says goodbye too, and its answer can be waited for.
    for torrent in torrents:
        torrent.pause()
    goodbyes, answers, paused = 0, 0, 0
    deadline = time.monotonic() + 10
    while (paused < len(torrents) or answers < goodbyes) and time.monotonic() < deadline:
        for alert in alerts():
            if isinstance(alert, lt.torrent_paused_alert):
                paused += 1
            elif isinstance(alert, lt.tracker_announce_alert):
                goodbyes += alert.event == lt.event_t.stopped
            elif goodbyes and isinstance(alert, (lt.tracker_reply_alert, lt.tracker_error_alert)):
                answers += 1


main()
