/** The parties that speak on channels. */

export type Role = 'master' | 'edge' | 'keys' | 'journal' | 'outbound';
