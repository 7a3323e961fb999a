/** `dunlin`: one command with subcommands. Each lives in a file of its own; none is loaded before it is asked for. */
import { Command, CommanderError } from 'commander';
import { DunlinError } from '../core/errors.js';

const EXIT = { OK: 0, FAILED: 1, USAGE: 2 } as const;

interface Subcommand {
  readonly name: string;
  readonly load: () => Promise<Command>;
}

const SUBCOMMANDS: readonly Subcommand[] = [
  { name: 'up', load: async () => (await import('./up.js')).upCommand() },
  { name: 'load', load: async () => (await import('./load.js')).loadCommand() },
  { name: 'chat', load: async () => (await import('./chat.js')).chatCommand() },
  { name: 'token', load: async () => (await import('./token.js')).tokenCommand() },
  { name: 'recover', load: async () => (await import('./recover.js')).recoverCommand() },
  { name: 'sim', load: async () => (await import('./sim.js')).simCommand() },
  { name: 'chaos', load: async () => (await import('./chaos.js')).chaosCommand() },
];

const OVERVIEW = `
Examples:
  dunlin up                                    serve on 127.0.0.1:8480, operators on 8481
  dunlin load --users 2000 --rate 20000        put load on it and check every message
  dunlin chat --as ada --to bo                 talk over it
  dunlin token --user ada --device 1           a development token
  dunlin recover                               what stopped partitions lost, and the way on
  dunlin sim swarm --seeds 100                 a hundred simulated worlds, each broken in its own way
  dunlin chaos run kill-loop                   a real server, killed again and again under load`;

async function program(args: readonly string[]): Promise<Command> {
  const root = new Command('dunlin')
    .description('The backbone of a messenger: ordered, lossless, duplicate-free delivery over WebSocket and msgpack.')
    .version('0.1.0')
    .showHelpAfterError('(see `dunlin --help`)')
    .addHelpText('after', OVERVIEW);
  const wanted = SUBCOMMANDS.find((subcommand) => subcommand.name === args[0]);
  for (const subcommand of wanted === undefined ? SUBCOMMANDS : [wanted]) root.addCommand(await subcommand.load());
  const quiet = (command: Command): void => {
    command.exitOverride();
    for (const child of command.commands) quiet(child);
  };
  quiet(root);
  return root;
}

async function main(args: readonly string[]): Promise<number> {
  try {
    await (await program(args)).parseAsync(args, { from: 'user' });
    return typeof process.exitCode === 'number' ? process.exitCode : EXIT.OK;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.OK : EXIT.USAGE;
    if (error instanceof DunlinError) {
      console.error(`dunlin: ${error.message}`);
      return EXIT.USAGE;
    }
    console.error(error);
    return EXIT.FAILED;
  }
}

process.exitCode = await main(process.argv.slice(2));
