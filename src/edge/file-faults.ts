/** What a failed file operation means for the request that asked for it, and for that request only. */

import { E_FILE, E_FORBIDDEN, E_NOT_FOUND, E_OVERLOAD } from '../http/fault.ts';

// Linux's numbers, the same on x86-64 and arm64.
const EPERM = 1;
const ENOENT = 2;
const ENXIO = 6;
const EAGAIN = 11;
const ENOMEM = 12;
const EACCES = 13;
const EXDEV = 18;
const ENOTDIR = 20;
const EINVAL = 22;
const ENFILE = 23;
const EMFILE = 24;
const ENAMETOOLONG = 36;
const ELOOP = 40;
const EILSEQ = 84;

/**
 * The fault of a failed `openFile`; `errno` is negative, as the reactor returns it. A name that no file can
 * have is a file that isn't there. What lies outside of the root, or may not be read, is forbidden.
 */
export function openFault(errno: number): number {
  switch (-errno) {
    case ENOENT:
    case ENOTDIR:
    case ENAMETOOLONG:
    case EINVAL:
    case EILSEQ:
      return E_NOT_FOUND;
    case EACCES:
    case EPERM:
    case EXDEV:
    case ELOOP:
    // A socket, or a device that isn't there.
    case ENXIO:
      return E_FORBIDDEN;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EAGAIN:
      return E_OVERLOAD;
    default:
      return E_FILE;
  }
}

/** Whether a file is not there, rather than out of reach for the moment. */
export function isAbsent(errno: number): boolean {
  return -errno === ENOENT || -errno === ENOTDIR || -errno === ENAMETOOLONG;
}
