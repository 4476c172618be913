// The npm packages are installed outside of the source tree, because Go would
// take the Go files that some of them have for packages of the tracker.
// LUCI_TEST_PACKAGES names the directory (openwrt/luci-test/run sets it).

import { createRequire } from 'node:module';
import { join } from 'node:path';

export const packages = process.env.LUCI_TEST_PACKAGES;
if (!packages)
	throw new Error('LUCI_TEST_PACKAGES is not set: start the tests with openwrt/luci-test/run');

export const requirePackage = createRequire(join(packages, 'package.json'));
