/** What the supervisor tells a thread, in one shared Int32 that the thread looks at whenever it wakes. */
export const ThreadOrder = {
  RUN: 0,
  /** Finish what was begun, then end. */
  DRAIN: 1,
  /** End now. */
  STOP: 2,
  /** Throw, as a defect would: for failure tests. */
  FAIL: 3,
} as const;
