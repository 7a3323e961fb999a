/** What `run.ts` forks for each benchmark. */
import { REGISTRY } from './registry.js';
import { serve } from './serve.js';

serve(REGISTRY);
