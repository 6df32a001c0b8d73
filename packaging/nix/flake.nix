# nix run 'git+https://github.com/aiocp/aiocp?dir=packaging/nix' -- --help
{
  description = "Copy files and trees at the speed of the device, hashed with BLAKE3";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs = { self, nixpkgs }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" ];
      each = make: nixpkgs.lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});
    in
    {
      packages = each (pkgs: {
        default = pkgs.callPackage ./package.nix { };
        static = pkgs.pkgsStatic.callPackage ./package.nix { };
      });

      # What building, testing and .ci/run need.
      devShells = each (pkgs: {
        default = pkgs.mkShell {
          inputsFrom = [ (pkgs.callPackage ./package.nix { }) ];
          packages = with pkgs; [
            b3sum cargo-deny clippy e2fsprogs just mandoc mdbook rsync rustfmt strace
          ];
        };
      });
    };
}
