/**
 * A provider of DNS zones. A name may carry several TXT values at once (a name and its wildcard share one), so both
 * methods work by value: they MUST leave every other value of the name alone, and doing them twice MUST be harmless.
 * Names are full, without a trailing dot. Both throw a CertsError that holds no credential.
 */
export interface Dns {
  /** The zone that holds a name: the longest of the account's zones that fits. Throws `zone_not_found`. */
  zoneOf(name: string, signal: AbortSignal): Promise<string>
  /** Publishes a value with the shortest time to live that the provider allows. */
  addTxt(name: string, value: string, signal: AbortSignal): Promise<void>
  /** Takes a value back; one that is not there is no error. */
  removeTxt(name: string, value: string, signal: AbortSignal): Promise<void>
}
