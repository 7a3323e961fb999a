/** One number for a conversation: worlds have few users and groups. */
export function conversationKey(a: number, b: number): number {
  return a * 2 ** 26 + b;
}
