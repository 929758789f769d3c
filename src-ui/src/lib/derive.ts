/**
 * What the screens conclude from what the backend says. Pure: time is passed in, nothing is fetched or drawn.
 */
import type {
  Balances,
  BlockerCode,
  LightningChannel as Channel,
  Degraded,
  Overview,
  Payment,
  SafeUntilReason,
  StageName,
  WakeOutcome,
  WakeRecord,
} from './bindings';
import { ago, amount, moment, satFromMsat, until } from './format';

const HOUR = 3_600_000;
// With open channels somebody must look at the chain about once a day; say so well before that.
export const STALE_MS = 12 * HOUR;
export const OVERDUE_MS = 18 * HOUR;

/** How the flame burns. */
export type Tone = 'steady' | 'checking' | 'low' | 'alert';

export interface FlameStatus {
  tone: Tone;
  headline: string;
  detail: string | null;
}

/** The money is known only after the chain was seen whole once. */
export function knownBalances(overview: Overview | null): Balances | null {
  const balances = overview?.balances ?? null;
  return balances !== null && balances.synced_at_ms !== null ? balances : null;
}

function channelWords(channels: Channel[] | null, safe: boolean): string | null {
  if (channels === null || channels.length === 0) return null;
  const ready = channels.filter((c) => c.ready).length;
  const opening = channels.length - ready;
  const parts: string[] = [];
  if (ready > 0)
    parts.push(`${ready} ${ready === 1 ? 'channel' : 'channels'}${safe ? ' safe' : ' to check'}`);
  if (opening > 0) parts.push(`${opening} opening`);
  return parts.join(' · ');
}

/** The status line in plain words. */
export function flameStatus(overview: Overview | null, channels: Channel[] | null, now: number): FlameStatus {
  const syncedAt = overview?.balances?.synced_at_ms ?? null;
  if (overview === null || overview.state === 'stopped' || overview.balances === null) {
    return overview?.sync_error
      ? { tone: 'low', headline: 'Not checked yet', detail: overview.sync_error.message }
      : { tone: 'checking', headline: 'Waking up', detail: null };
  }
  if (syncedAt === null) {
    if (overview.sync_error !== null && !overview.syncing) {
      return { tone: 'low', headline: 'Not checked yet', detail: overview.sync_error.message };
    }
    return { tone: 'checking', headline: 'Checking for the first time', detail: null };
  }
  const age = now - syncedAt;
  const atRisk = (channels?.length ?? 0) > 0;
  if (overview.syncing) {
    return { tone: 'checking', headline: 'Checking now', detail: channelWords(channels, age < STALE_MS) };
  }
  const headline = `Checked ${ago(syncedAt, now)}`;
  if (atRisk && age >= OVERDUE_MS) {
    return { tone: 'alert', headline, detail: 'Stay here a moment so your channels can be checked' };
  }
  if (overview.sync_error !== null) {
    return {
      tone: 'low',
      headline,
      detail: channelWords(channels, age < STALE_MS) ?? 'The last try did not get through',
    };
  }
  if (age >= STALE_MS) {
    return { tone: 'low', headline, detail: channelWords(channels, false) };
  }
  return { tone: 'steady', headline, detail: channelWords(channels, true) };
}

const SAFE_UNTIL_WORDS: Record<SafeUntilReason, string> = {
  old_balance: 'a peer that closes a channel with an old balance must be caught in time',
  incoming_payment: 'a payment to you must be secured before it runs out',
  outgoing_payment: 'a payment of yours is still under way and may have to be taken back',
  closing: 'a channel is closing and is not in a block yet',
  breach: 'a peer tried to cheat, and the money it loses is not in a block yet',
};

/** Nearer than this, the moment is worth a colour: about a day to open the app in. */
export const SAFE_SOON_MS = 24 * HOUR;

/** Until when nothing can be lost even if nobody looks, and why, in plain words. `null`: nothing to say. */
export function safeUntilWords(
  overview: Overview | null,
  now: number,
): { words: string; tone: 'calm' | 'warm' | 'bad' } | null {
  const safe = overview?.safe_until ?? null;
  if (safe === null) return null;
  const because = SAFE_UNTIL_WORDS[safe.reason];
  if (safe.at_ms <= now) {
    return {
      words: `Your channels had to be checked by ${moment(safe.at_ms)}, because ${because}. Stay here a moment.`,
      tone: 'bad',
    };
  }
  const soon = safe.at_ms - now < SAFE_SOON_MS;
  const when = soon ? `${moment(safe.at_ms)} (${until(safe.at_ms, now)})` : moment(safe.at_ms);
  return {
    words: `Safe until ${when}, even if Pilotlight stays closed. By then it must look again, because ${because}.`,
    tone: soon ? 'warm' : 'calm',
  };
}

/** Partners that tried to cheat, each in a sentence or two. */
export function breachWords(
  overview: Overview | null,
): { id: string; words: string; tone: 'warm' | 'bad' | 'calm' }[] {
  return (overview?.breaches ?? []).map(({ channel_id: id, status, at_stake_sat, secured_sat }) => {
    if (status === 'securing')
      return {
        id,
        words: `A channel partner tried to cheat. It was caught, and your money is being secured: ${amount(at_stake_sat)} of the partner's come on top. There is nothing that you must do.`,
        tone: 'warm',
      };
    if (status === 'secured')
      return {
        id,
        words: `A channel partner tried to cheat. Your money was secured, and ${amount(secured_sat)} of the partner's with it.`,
        tone: 'calm',
      };
    return {
      id,
      words: `A channel partner cheated, and was found too late: ${amount(at_stake_sat)} could not be secured.`,
      tone: 'bad',
    };
  });
}

/** The moment that matters to the person: when it was paid, or when it was made. */
export function paymentMoment(payment: Payment): number {
  const received = payment.direction === 'received' && payment.status === 'succeeded';
  return received ? payment.updated_at_ms : payment.created_at_ms;
}

/** Invoices that nobody paid are not activity. */
export function isActivity(payment: Payment): boolean {
  return !(
    payment.kind === 'lightning' &&
    payment.direction === 'received' &&
    payment.status !== 'succeeded'
  );
}

/** The activity list: newest first, without unpaid invoices. */
export function activity(payments: Payment[]): Payment[] {
  return payments.filter(isActivity).sort((a, b) => paymentMoment(b) - paymentMoment(a));
}

/**
 * Money that left, came, or only changed pockets. A payment to a channel of one's own is no spending: it has no sign and
 * no colour.
 */
export function paymentFlow(payment: Payment): 'in' | 'out' | 'own' {
  if (payment.kind === 'channel_funding') return 'own';
  return payment.direction === 'received' ? 'in' : 'out';
}

export const FLOW_SIGN = { in: '+', out: '\u2212', own: '' } as const;

/** What a payment is called when it has no note. */
export function paymentTitle(payment: Payment): string {
  const note = payment.description?.trim();
  if (note) return note;
  if (payment.kind === 'channel_funding')
    return payment.status === 'failed' ? 'Channel not opened' : 'Opened a channel';
  if (payment.kind === 'penalty') return 'Taken from a partner that cheated';
  if (payment.direction === 'received') return payment.status === 'pending' ? 'Arriving' : 'Received';
  if (payment.status === 'failed') return 'Not sent';
  return payment.status === 'pending' ? 'Sending' : 'Sent';
}

/** Status is worth a word only when it needs attention. */
export function paymentAttention(payment: Payment): string | null {
  if (payment.status === 'failed') return 'Failed';
  if (payment.status === 'pending') return payment.kind === 'lightning' ? 'On its way' : 'Confirming';
  return null;
}

/** Puts a changed payment into the list. */
export function withPayment(payments: Payment[], changed: Payment): Payment[] {
  const rest = payments.filter((p) => !(p.id === changed.id && p.direction === changed.direction));
  return [changed, ...rest];
}

/** Puts a wake record into the list, newest first. */
export function withWake(wakes: WakeRecord[], changed: WakeRecord): WakeRecord[] {
  return [changed, ...wakes.filter((w) => w.id !== changed.id)].sort((a, b) => b.id - a.id);
}

export const OUTCOME_WORDS: Record<WakeOutcome, string> = {
  in_progress: 'Running',
  completed: 'Completed',
  partial: 'Partly done',
  expired: 'Ran out of time',
  failed: 'Failed',
  cut_off: 'Cut off',
};

/** How an outcome is to be taken: fine, half fine, or not. */
export function outcomeTone(outcome: WakeOutcome): 'good' | 'fair' | 'bad' | 'running' {
  switch (outcome) {
    case 'completed':
      return 'good';
    case 'partial':
      return 'fair';
    case 'in_progress':
      return 'running';
    case 'expired':
    case 'failed':
    case 'cut_off':
      return 'bad';
  }
}

const BY_HAND = 'Open the app once a day instead.';

/**
 * What keeps wakes from coming, and what the person can do about it. `null`: nothing to do, or nothing that an open app
 * needs to say.
 */
export const BLOCKER_WORDS: Record<BlockerCode, string | null> = {
  unsupported: `Pilotlight cannot be woken on this device while it is closed. ${BY_HAND}`,
  backgroundRefreshDenied:
    'Your phone may not wake Pilotlight while it is closed. Turn on Background App Refresh in Settings, or open the app once a day.',
  // Apple: do not ask for what the person cannot change.
  backgroundRefreshRestricted: `This phone does not wake apps while they are closed. ${BY_HAND}`,
  lowPowerMode: `Low Power Mode is on, so your phone lets Pilotlight sleep until it is off. ${BY_HAND}`,
  notPermitted: `Pilotlight cannot be woken while it is closed. ${BY_HAND}`,
  notRegistered: `Pilotlight cannot be woken while it is closed. ${BY_HAND}`,
  notSubmitted: `Your phone did not take the request for the next wake. ${BY_HAND}`,
  noHandler: null,
  offline: null,
  notOnPower: null,
  lockedSinceBoot: null,
  forceQuitSuspected:
    'Your phone has not woken Pilotlight for two days. That happens after it was swiped away in the app switcher; leave it there, and open it now and then.',
};

/** What made a wake do less than others. */
export const DEGRADED_WORDS: Record<Degraded, string> = {
  offline: 'there was no network',
  low_power: 'Low Power Mode is on',
  low_data: 'Low Data Mode is on',
  memory: 'memory was short',
};

/** All that is kept of the last wakes, as a developer wants it: the JSON that the command line prints. */
export function wakeLog(wakes: readonly WakeRecord[]): string {
  return JSON.stringify(wakes, null, 1);
}

const STAGES: Record<string, string> = {
  open: 'Open the wallet',
  chain: 'Look at the chain',
  peers: 'Talk to peers',
  events: 'Settle payments',
  sweep: 'Collect coins',
  onchain: 'On-chain wallet',
  gossip: 'Network map',
  compact: 'Tidy up',
  report: 'Write it down',
};

/** A stage's name in plain words; one that this version does not know keeps its own. */
export function stageWords(name: StageName): string {
  return STAGES[name] ?? name;
}

/** What a channel is doing, in plain words. */
export function channelState(channel: Channel): { words: string; tone: 'good' | 'fair' | 'low' } {
  if (channel.usable) return { words: 'Ready', tone: 'good' };
  if (channel.ready) return { words: 'Peer is offline', tone: 'low' };
  const have = channel.confirmations ?? 0;
  const need = channel.confirmations_required;
  if (need === null || need === 0) return { words: 'Opening', tone: 'fair' };
  return { words: `Opening · ${Math.min(have, need)} of ${need} blocks`, tone: 'fair' };
}

/** What of a channel can be sent and received, in sats. */
export function channelSides(channel: Channel): { send: number; receive: number } {
  return { send: satFromMsat(channel.outbound_msat) ?? 0, receive: satFromMsat(channel.inbound_msat) ?? 0 };
}

/** Money in channels that cannot be spent now: reserves that each side must keep. Never negative. */
export function setAside(balances: Balances): number {
  const spoken =
    balances.lightning_sat +
    balances.onchain_confirmed_sat +
    balances.onchain_pending_sat +
    balances.closing_sat;
  return Math.max(0, balances.total_sat - spoken);
}
