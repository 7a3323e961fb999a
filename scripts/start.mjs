/** `npm start`: install, compile, serve. Arguments after `--` are those of `dunlin up`. */
import { build, install } from './setup.mjs';

install();
build();
process.setSourceMapsEnabled(true);
process.argv.splice(2, 0, 'up');
await import('../dist/cli/main.js');
