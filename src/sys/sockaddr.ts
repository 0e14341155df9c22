/** Socket addresses as the program speaks of them, and their kernel layouts (sockaddr_in, _in6, _un). */

export type SocketAddress =
  | { readonly family: 'ipv4' | 'ipv6'; readonly address: string; readonly port: number }
  | { readonly family: 'unix'; readonly path: string };
