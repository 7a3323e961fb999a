/** All that are compared, Dunlin first. */
import { dunlin } from './dunlin.js';
import type { Peer } from './peer.js';
import { ws } from './ws.js';

export const PEERS: readonly Peer[] = [dunlin, ws];
/** Those that npm alone brings. */
export const TINY_PEERS: readonly Peer[] = [dunlin, ws];
