
using namespace System.Management.Automation
using namespace System.Management.Automation.Language

Register-ArgumentCompleter -Native -CommandName 'aiocp' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    $commandElements = $commandAst.CommandElements
    $command = @(
        'aiocp'
        for ($i = 1; $i -lt $commandElements.Count; $i++) {
            $element = $commandElements[$i]
            if ($element -isnot [StringConstantExpressionAst] -or
                $element.StringConstantType -ne [StringConstantType]::BareWord -or
                $element.Value.StartsWith('-') -or
                $element.Value -eq $wordToComplete) {
                break
        }
        $element.Value
    }) -join ';'

    $completions = @(switch ($command) {
        'aiocp' {
            [CompletionResult]::new('-t', '-t', [CompletionResultType]::ParameterName, 'Copy all SOURCEs into DIRECTORY')
            [CompletionResult]::new('--target-directory', '--target-directory', [CompletionResultType]::ParameterName, 'Copy all SOURCEs into DIRECTORY')
            [CompletionResult]::new('--manifest', '--manifest', [CompletionResultType]::ParameterName, 'Write one b3sum line a file, sorted by path and relative to DEST ("-": stdout)')
            [CompletionResult]::new('--sparse', '--sparse', [CompletionResultType]::ParameterName, 'What becomes of zeros: auto keeps holes, always makes them, never fills them')
            [CompletionResult]::new('--direct', '--direct', [CompletionResultType]::ParameterName, 'Whether to go past the page cache with O_DIRECT')
            [CompletionResult]::new('--queue-depth', '--queue-depth', [CompletionResultType]::ParameterName, 'Blocks in flight, 1 to 4096')
            [CompletionResult]::new('--block-size', '--block-size', [CompletionResultType]::ParameterName, 'Bytes a block, a power of two from 4K to 64M')
            [CompletionResult]::new('--threads', '--threads', [CompletionResultType]::ParameterName, 'Workers, 1 to 1024')
            [CompletionResult]::new('--completions', '--completions', [CompletionResultType]::ParameterName, 'Print the completion script for a shell')
            [CompletionResult]::new('-T', '-T ', [CompletionResultType]::ParameterName, 'Take DEST as the copy''s own name, also if it is a directory')
            [CompletionResult]::new('--no-target-directory', '--no-target-directory', [CompletionResultType]::ParameterName, 'Take DEST as the copy''s own name, also if it is a directory')
            [CompletionResult]::new('-r', '-r', [CompletionResultType]::ParameterName, 'Accepted for cp''s sake: directories are always copied whole')
            [CompletionResult]::new('-R', '-R ', [CompletionResultType]::ParameterName, 'Accepted for cp''s sake: directories are always copied whole')
            [CompletionResult]::new('--recursive', '--recursive', [CompletionResultType]::ParameterName, 'Accepted for cp''s sake: directories are always copied whole')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Print each file when it is done')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Print each file when it is done')
            [CompletionResult]::new('--no-sync', '--no-sync', [CompletionResultType]::ParameterName, 'Do not wait until data and names are on the device')
            [CompletionResult]::new('--debug', '--debug', [CompletionResultType]::ParameterName, 'Print a line a file: direct or buffered, and why')
            [CompletionResult]::new('--stats', '--stats', [CompletionResultType]::ParameterName, 'Print what was done in the end')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
    })

    $completions.Where{ $_.CompletionText -like "$wordToComplete*" } |
        Sort-Object -Property ListItemText
}
