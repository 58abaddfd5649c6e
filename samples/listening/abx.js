// Blind comparison: X is A or B, which is known here only until it is answered.

/** Probability of at least `right` of `done` right answers by guessing. */
function guessing(right, done) {
  let ways = 1, sum = 0;  // `done` over k, from k = done down
  for (let k = done; k >= right; k--) {
    sum += ways;
    ways *= k / (done - k + 1);
  }
  return sum / 2 ** done;
}

class Trials {
  #isB = false;
  right = 0;
  done = 0;

  constructor() {
    this.next();
  }

  next() {
    this.#isB = (crypto.getRandomValues(new Uint8Array(1))[0] & 1) === 1;
  }

  /** Which of a pair X is. */
  pick(a, b) {
    return this.#isB ? b : a;
  }

  /** Count an answer, draw anew; return whether it was right. */
  answer(saysB) {
    const right = saysB === this.#isB;
    this.done += 1;
    this.right += right ? 1 : 0;
    this.next();
    return right;
  }

  get p() {
    return guessing(this.right, this.done);
  }
}
