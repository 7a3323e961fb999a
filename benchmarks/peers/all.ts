/** All that are compared, Dunlin first. */
import { centrifuge } from './centrifuge.js';
import { dunlin } from './dunlin.js';
import { ejabberd } from './ejabberd.js';
import { natsDefault, natsSynced } from './nats.js';
import type { Peer } from './peer.js';
import { socketIo } from './socket-io.js';
import { ws } from './ws.js';
import { wukongim } from './wukongim.js';

export const PEERS: readonly Peer[] = [dunlin, wukongim, natsSynced, natsDefault, ejabberd, centrifuge, socketIo, ws];
/** Those that npm alone brings. */
export const TINY_PEERS: readonly Peer[] = [dunlin, ws];
