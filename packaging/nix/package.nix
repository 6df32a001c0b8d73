# callPackage ./package.nix { }
{ lib, rustPlatform, installShellFiles }:

let
  root = ../..;
  manifest = (lib.importTOML (root + "/Cargo.toml")).package;
in
rustPlatform.buildRustPackage {
  pname = manifest.name;
  inherit (manifest) version;

  src = lib.cleanSource root;
  cargoLock.lockFile = root + "/Cargo.lock";

  nativeBuildInputs = [ installShellFiles ];

  # The other tests call programs and make filesystems, which the sandbox has not.
  cargoTestFlags = [ "--lib" ];

  postInstall = ''
    installManPage man/aiocp.1 man/aiosum.1
    for command in aiocp aiosum; do
      installShellCompletion --cmd $command --bash completions/$command.bash \
        --zsh completions/_$command --fish completions/$command.fish
    done
  '';

  meta = {
    inherit (manifest) description homepage;
    license = with lib.licenses; [ mit asl20 ];
    platforms = lib.platforms.linux;
    mainProgram = "aiocp";
  };
}
