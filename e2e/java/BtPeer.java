import bt.Bt;
import bt.data.file.FileSystemStorage;
import bt.protocol.crypto.EncryptionPolicy;
import bt.runtime.BtClient;
import bt.runtime.BtRuntime;
import bt.runtime.Config;
import java.net.InetAddress;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;

/** Runs torrents on bt until its standard input ends: DIR ADDRESS PORT SOURCE... */
public class BtPeer {
    public static void main(String[] args) throws Exception {
        Config config = new Config();
        config.setAcceptorAddress(InetAddress.getByName(args[1]));
        config.setAcceptorPort(Integer.parseInt(args[2]));
        config.setEncryptionPolicy(EncryptionPolicy.REQUIRE_PLAINTEXT);
        config.setMseDisabled(true);
        BtRuntime runtime = BtRuntime.builder(config).disableLocalServiceDiscovery().disableAutomaticShutdown().build();

        List<BtClient> clients = new ArrayList<>();
        List<CompletableFuture<?>> stopped = new ArrayList<>();
        for (int i = 3; i < args.length; i++) {
            var builder = Bt.client(runtime).storage(new FileSystemStorage(Path.of(args[0])));
            if (args[i].startsWith("magnet:")) {
                builder.magnet(args[i]);
            } else {
                builder.torrent(Path.of(args[i]).toUri().toURL());
            }
            BtClient client = builder.build();
            stopped.add(client.startAsync());
            clients.add(client);
        }

        while (System.in.read() != -1) {
            // The end of the input is the order to stop.
        }
        for (BtClient client : clients) {
            client.stop();
        }
        for (CompletableFuture<?> future : stopped) {
            future.handle((result, error) -> null).join();
        }
        runtime.shutdown();
        System.exit(0);
    }
}
