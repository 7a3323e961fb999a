/** `dunlin token`: a token of the development issuer, whose key lies in the data directory. */
import { Command, Option } from 'commander';
import { DEVICE_NUMBER_MAX } from '../core/limits.js';
import { createDevelopmentIssuer, userIdOfName } from '../gateway/tokens.js';
import { defaultDataDirectory } from './defaults.js';
import { durationMs, wholeNumber } from './flags.js';

export function tokenCommand(): Command {
  return new Command('token')
    .description('Print a development token. Its key lies in the data directory and is taken on loopback only.')
    .requiredOption('--user <name or id>', 'user id in decimal, or a name, which is hashed into an id')
    .option('--device <number>', 'device number', wholeNumber(1, DEVICE_NUMBER_MAX), 1)
    .addOption(
      new Option('--ttl <time>', 'how long the token is good').argParser(durationMs).default(24 * 3_600_000, '24h'),
    )
    .option('--data <directory>', 'data directory of the backbone', defaultDataDirectory())
    .option('--json', 'print {"user", "device", "expires_ms", "token"}')
    .addHelpText(
      'after',
      `
Examples:
  dunlin token --user ada
  dunlin token --user 4711 --device 2 --ttl 1h --json`,
    )
    .action(async (options: { user: string; device: number; ttl: number; data: string; json?: boolean }) => {
      const user = userIdOfName(options.user);
      const issuer = await createDevelopmentIssuer(options.data);
      const token = await issuer.sign({ user, device: options.device, ttlMs: options.ttl });
      if (options.json === true) {
        console.log(JSON.stringify({ user, device: options.device, expires_ms: Date.now() + options.ttl, token }));
      } else {
        console.log(token);
      }
    });
}
