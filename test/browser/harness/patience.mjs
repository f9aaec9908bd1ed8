/**
 * How long anything is waited for, in milliseconds: so long that a machine that is ten times
 * slower, or stands still for seconds, does not reach it. Who waits goes on at once.
 */
export const patience = 180_000;
