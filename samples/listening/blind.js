// The blind mode of the page; see abx.js.

function setUpBlind(listing, player, listening) {
  const fieldset = element("blind-answers"), listen = { A: element("hear-a"), B: element("hear-b"), X: element("hear-x") };
  let trials = null, pair = [0, 0];

  const track = (name) => name === "A" ? pair[0] : name === "B" ? pair[1] : trials.pick(...pair);

  function hear(name) {
    player.chooseUnheard(track(name));
    for (const [other, button] of Object.entries(listen)) pressed(button, other === name);
  }

  function say(words) {
    element("blind-result").textContent = words;
  }

  function score() {
    return trials.done ? `${trials.right} of ${trials.done} right; by guessing, p = ${trials.p.toPrecision(3)}.` : "No answer yet.";
  }

  function start(event) {
    pair = [Number(element("blind-a").value), Number(element("blind-b").value)];
    if (pair[0] === pair[1]) {
      say("Choose two different tracks.");
      return;
    }
    trials = new Trials();
    hide(true);
    hear("X");
    say(score());
    if (event.detail === 0) listen.X.focus();  // the button that had the focus is off now
    player.play();
  }

  function stop(event) {
    say(`Ended. ${score()}`);
    trials = null;
    hide(false);
    listening.choose(listening.state.track);
    if (event.detail === 0) element("blind-start").focus();
  }

  // What is seen would tell X; so would the level.
  function hide(blind) {
    document.querySelectorAll(".sighted").forEach((part) => { part.hidden = blind; });
    fieldset.hidden = !blind;
    for (const id of ["clip", "blind-a", "blind-b", "blind-start"]) element(id).disabled = blind;
    if (blind) listening.state.residual = false;
    else listening.draw();
  }

  function answer(saysB) {
    const right = trials.answer(saysB);
    hear("X");
    say(`${right ? "Right" : "Wrong"}. ${score()} X is drawn anew.`);
  }

  function reset() {
    trials = new Trials();
    hear("X");
    say(score());
  }

  for (const [name, button] of Object.entries(listen)) onClick(button, () => hear(name));
  onClick(element("is-a"), () => answer(false));
  onClick(element("is-b"), () => answer(true));
  onClick(element("blind-start"), (event) => listening.state.clip && start(event));
  onClick(element("blind-stop"), stop);
  onClick(element("blind-reset"), reset);

  const keys = { a: () => hear("A"), b: () => hear("B"), x: () => hear("X"), 1: () => answer(false), 2: () => answer(true) };
  return { active: () => trials !== null, key: (key) => keys[key.toLowerCase()]?.() };
}
